-- Stops leasing for an endpoint whose filter exceeds a limit.
UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = %(reason)s
WHERE id = %(id)s AND removed_at IS NULL AND enabled AND condition = %(condition)s
