-- The new state of a delivery that this worker still holds for this attempt; its lease ends.
UPDATE delivery SET state = ?, due = ?, finished_at = ?, worker = NULL WHERE id = ? AND worker = ? AND attempts = ?
