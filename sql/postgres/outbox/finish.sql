-- New states of deliveries that the worker holds; their leases end, and finished ones are counted.
WITH given AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(states)s::smallint[], %(dues)s::timestamptz[]) AS given (id, state, due)
),
concluded AS (
    UPDATE cdc_outbox.delivery
    SET state = given.state, due = given.due, worker = NULL,
        finished_at = CASE WHEN given.state >= 2 THEN %(now)s::timestamptz END
    FROM given
    WHERE delivery.id = given.id
    RETURNING delivery.endpoint, delivery.state
)
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, pg_backend_pid() & 15, count(*) FROM concluded WHERE state >= 2
GROUP BY endpoint, state
ORDER BY endpoint, state
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries
