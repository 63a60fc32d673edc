-- A replay that runs ends before its end.
UPDATE replay SET state = :state, error = :error, finished_at = :now WHERE id = :id AND state = 'running'
