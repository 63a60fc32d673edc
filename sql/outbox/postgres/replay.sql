-- name: retriable
-- What sending deliveries again needs to know of them.
SELECT delivery.id, delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL,
       endpoint.delivery_order, octet_length(event.payload) = 0, event.id
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = ANY (:ids::bigint[])

-- name: reopen
-- Finished deliveries wait again, in their lanes (merges followed), as if never tried, and are not counted as finished any
-- more.  The lanes, each of which is to be settled.
WITH given AS (
    SELECT given.id, given.state, given.endpoint, COALESCE(alias.root, given.lane) AS lane
    FROM unnest(:id::bigint[], :state::smallint[], :endpoint::bigint[], :lane::bigint[])
         AS given (id, state, endpoint, lane)
    LEFT JOIN LATERAL (SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1) AS alias ON true
),
reopened AS (
    UPDATE cdc_outbox.delivery SET state = 0, due = :now, attempts = 0, finished_at = NULL, lane = given.lane
    FROM given
    WHERE delivery.id = given.id
    RETURNING delivery.endpoint, delivery.lane
),
counted AS (
    INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
    SELECT endpoint, state, pg_backend_pid() & 15, -count(*) FROM given
    GROUP BY endpoint, state
    ORDER BY endpoint, state
    ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries
)
SELECT DISTINCT endpoint, lane FROM reopened

-- name: replayable
-- Finished deliveries that may be sent again, oldest events first; $where holds fixed terms with named parameters.
SELECT delivery.event, delivery.id, octet_length(event.payload) = 0
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.state >= 2 AND endpoint.removed_at IS NULL AND $where
ORDER BY delivery.event, delivery.id
LIMIT :limit

-- name: replayable_events
-- Events in the order stored, and what became of each at one endpoint; $where holds fixed terms with named parameters.
SELECT event.sequence, delivery.id, octet_length(event.payload) = 0, delivery.state,
       event.id, event.name, event.source, event.record, event."time",
       CASE WHEN delivery.id IS NULL THEN event.payload END
FROM cdc_outbox.event
LEFT JOIN cdc_outbox.delivery ON delivery.event = event.sequence AND delivery.endpoint = :subscriber
WHERE $where
ORDER BY event.sequence
LIMIT :limit

-- name: undelivered
-- Which of the events can still get their delivery to an endpoint, in order, with what a lane is made of.
SELECT event.sequence, event.source, event.record, event.id, endpoint.delivery_order
FROM unnest(:events::bigint[]) WITH ORDINALITY AS given (sequence, n)
JOIN cdc_outbox.event ON event.sequence = given.sequence
JOIN cdc_outbox.endpoint ON endpoint.number = :endpoint
LEFT JOIN cdc_outbox.delivery ON delivery.event = given.sequence AND delivery.endpoint = :endpoint
WHERE endpoint.removed_at IS NULL AND octet_length(event.payload) > 0 AND delivery.id IS NULL
ORDER BY given.n

-- name: hurry_endpoint
-- Deliveries of an endpoint that wait for their next attempt, the earliest :limit of them, are due now.
UPDATE cdc_outbox.delivery SET due = :now
WHERE id = ANY (ARRAY(
    SELECT waiting.id FROM cdc_outbox.delivery AS waiting
    WHERE waiting.endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint AND removed_at IS NULL)
      AND waiting.state = 1 AND waiting.due > :now AND waiting.worker IS NULL
    ORDER BY waiting.due, waiting.id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
))
