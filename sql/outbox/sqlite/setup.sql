-- name: count_finished
-- The counts of finished deliveries, from all of them.
INSERT INTO finished_count (endpoint, state, deliveries)
SELECT endpoint, state, COUNT(*) FROM delivery WHERE state >= 2 GROUP BY endpoint, state
