-- The new state of deliveries (a JSON list of ids) that this worker still holds for this attempt; their leases end.
UPDATE delivery SET state = ?, due = ?, finished_at = ?, worker = NULL
WHERE id IN (SELECT value FROM json_each(?)) AND worker = ? AND attempts = ?
