-- Stops leasing for an endpoint that has failed since then without one success.
UPDATE endpoint SET enabled = 0, disabled_reason = ?
WHERE id = ? AND removed_at IS NULL AND enabled AND failing_since = ?
