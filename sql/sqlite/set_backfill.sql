-- A backfill that has not ended pauses, goes on or ends.
UPDATE backfill SET state = :state, error = :error, finished_at = :finished_at
WHERE id = :id AND state IN ('running', 'paused')
