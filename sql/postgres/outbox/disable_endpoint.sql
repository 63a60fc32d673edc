-- Stops leasing for an endpoint and says why; one that is disabled already keeps its reason.
UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = %(reason)s WHERE number = %(number)s AND enabled
