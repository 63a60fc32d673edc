-- A session was used; written unless somebody else just did.
UPDATE cdc_outbox.access_session SET last_used_at = %(now)s WHERE digest = %(digest)s AND last_used_at <= %(noted_before)s
