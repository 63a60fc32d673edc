-- A finished delivery waits again, as if never tried.
UPDATE delivery SET state = 0, due = :now, attempts = 0, finished_at = NULL, lane = :lane WHERE id = :id
