-- A finished delivery waits again, as if never tried, and is not counted as finished any more.
WITH reopened AS (
    UPDATE cdc_outbox.delivery SET state = 0, due = %(now)s, attempts = 0, finished_at = NULL, lane = %(lane)s
    WHERE id = %(id)s
)
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
VALUES (%(endpoint)s, %(state)s, pg_backend_pid() & 15, -1)
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries - 1
