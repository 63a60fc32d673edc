-- Stops leasing for an endpoint whose filter exceeds a limit.
UPDATE endpoint SET enabled = 0, disabled_reason = ?
WHERE id = ? AND removed_at IS NULL AND enabled AND condition = ?
