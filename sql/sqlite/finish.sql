-- The new state of a delivery; its lease ends.
UPDATE delivery SET state = ?, due = ?, finished_at = ?, worker = NULL WHERE id = ?
