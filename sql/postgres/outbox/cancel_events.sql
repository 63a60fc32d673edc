-- Ends every unfinished delivery of events, and counts it as finished; where they stood in line.
WITH ended AS (
    UPDATE cdc_outbox.delivery SET state = 4, worker = NULL, finished_at = %(now)s
    WHERE event = ANY (%(events)s::bigint[]) AND state < 2
    RETURNING endpoint, lane
),
counted AS (
    INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
    SELECT endpoint, 4, pg_backend_pid() & 15, count(*) FROM ended
    GROUP BY endpoint
    ORDER BY endpoint
    ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries
)
SELECT endpoint, lane FROM ended
