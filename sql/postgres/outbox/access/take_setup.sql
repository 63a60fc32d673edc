-- The link is used up; nothing when it is another one or has expired.
DELETE FROM cdc_outbox.access_setup WHERE digest = %(digest)s AND expires_at > %(now)s
