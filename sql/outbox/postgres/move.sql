-- name: insert_moved
-- Deliveries as they were in the other outbox.
INSERT INTO cdc_outbox.delivery
    (id, event, endpoint, lane, state, due, attempts, worker, created_at, finished_at)
SELECT :last + given.n, given.event, given.endpoint, given.lane, given.state, given.due, given.attempts, given.worker,
       given.created_at, given.finished_at
FROM unnest(:event::bigint[], :endpoint::bigint[], :lane::bigint[], :state::smallint[], :due::timestamptz[],
            :attempts::integer[], :worker::text[], :created_at::timestamptz[], :finished_at::timestamptz[])
     WITH ORDINALITY AS given (event, endpoint, lane, state, due, attempts, worker, created_at, finished_at, n)

-- name: hold_reopened
-- Deliveries that were finished here, and were not in the other outbox.
UPDATE cdc_outbox.delivery SET lane = given.lane, due = given.due, attempts = given.attempts, worker = :worker
FROM unnest(:id::bigint[], :lane::bigint[], :due::timestamptz[], :attempts::integer[]) AS given (id, lane, due, attempts)
WHERE delivery.id = given.id

-- name: insert_moved_attempt
INSERT INTO cdc_outbox.attempt (delivery, number, url, status, started_at, duration, error, answer)
SELECT * FROM unnest(:delivery::bigint[], :number::integer[], :url::text[], :status::integer[],
                     :started_at::timestamptz[], :duration::double precision[], :error::text[], :answer::text[])

-- name: count_moved_finished
-- Finished deliveries that came from the other outbox.
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, pg_backend_pid() & 15, count(*)
FROM unnest(:endpoint::bigint[], :state::smallint[]) AS given (endpoint, state)
GROUP BY endpoint, state
ORDER BY endpoint, state
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries

-- name: cancel_held
-- Held deliveries that the other outbox has by now end here, and are counted as cancelled.
WITH ended AS (
    UPDATE cdc_outbox.delivery SET state = 4, lane = ~lane, worker = NULL, finished_at = :now
    WHERE id = ANY (:ids::bigint[]) AND state = 0 AND worker = :mover
    RETURNING endpoint
)
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, 4, pg_backend_pid() & 15, count(*) FROM ended
GROUP BY endpoint
ORDER BY endpoint
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries
