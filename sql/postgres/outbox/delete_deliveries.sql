-- Finished deliveries whose attempts are gone; they are not counted any more.
WITH gone AS (
    DELETE FROM cdc_outbox.delivery WHERE id = ANY (%(ids)s::bigint[]) RETURNING endpoint, state
)
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, pg_backend_pid() & 15, -count(*) FROM gone
GROUP BY endpoint, state
ORDER BY endpoint, state
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries
