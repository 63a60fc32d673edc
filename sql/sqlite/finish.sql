-- The new state of deliveries (a JSON list of ids) that this worker still holds for this attempt; their leases end.
-- (`+` keeps to the ids: the index of workers would be searched for each.)
UPDATE delivery SET state = ?, due = ?, finished_at = ?, worker = NULL
WHERE id IN (SELECT value FROM json_each(?)) AND +worker = ? AND attempts = ?
