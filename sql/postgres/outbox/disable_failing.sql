-- Stops leasing for an endpoint that has failed since then without one success.
UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = %(reason)s
WHERE id = %(id)s AND removed_at IS NULL AND enabled AND failing_since = %(since)s
