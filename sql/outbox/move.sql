-- Moving a source to another outbox.  Deliveries that move are "held": they wait (state 0) with the name of the move in
-- `worker`, and in a lane of their own, the complement of theirs, in which nothing is ever promoted.

-- name: hold_deliveries
-- Holds unfinished deliveries of a source that nobody sends, the newest first: the rest of a lane stays in order.
-- (A term on `event` as it is would have the whole log read in its order.  What is leased this moment is seen by the last
-- line, which PostgreSQL checks again.)  The endpoint and the lane of each.
UPDATE cdc_outbox.delivery SET state = 0, lane = ~lane, worker = :mover
WHERE id IN (
    SELECT delivery.id FROM cdc_outbox.delivery
    WHERE delivery.endpoint = ANY (:endpoints::bigint[]) AND delivery.state < 2
      AND (delivery.worker IS NULL OR (delivery.state = 1 AND delivery.due <= :now))
      AND EXISTS (
          SELECT 1 FROM cdc_outbox.event WHERE event.sequence = delivery.event AND event.source = :source
      )
    ORDER BY delivery.event + 0 DESC, delivery.id DESC
    LIMIT :limit
)
AND state < 2 AND (worker IS NULL OR (state = 1 AND due <= :now))
RETURNING endpoint, ~lane

-- name: sent_of_source
-- How many deliveries of a source to these endpoints are being sent.
SELECT count(*) FROM cdc_outbox.delivery
WHERE delivery.endpoint = ANY (:endpoints::bigint[]) AND delivery.state < 2 AND delivery.state = 1
  AND EXISTS (SELECT 1 FROM cdc_outbox.event WHERE event.sequence = delivery.event AND event.source = :source)

-- name: unfinished_of_source
-- How many deliveries of a source are not finished, by endpoint.
SELECT endpoint.id, count(*)
FROM cdc_outbox.endpoint
JOIN cdc_outbox.delivery ON delivery.endpoint = endpoint.number AND delivery.state < 2
JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE event.source = :source
GROUP BY endpoint.id

-- name: held_deliveries
-- The next held deliveries behind one, in the order of their events.
SELECT delivery.event, delivery.id FROM cdc_outbox.delivery
WHERE delivery.endpoint = ANY (:endpoints::bigint[]) AND delivery.state < 2 AND delivery.state = 0
  AND delivery.worker || '' = :mover
  AND (delivery.event > :event OR (delivery.event = :event AND delivery.id > :id))
ORDER BY delivery.event + 0, delivery.id
LIMIT :limit

-- name: logged_deliveries
-- The next deliveries of a source to some endpoints behind one, finished and held ones, in the order of their events.
SELECT delivery.event, delivery.id
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE (delivery.event > :event OR (delivery.event = :event AND delivery.id > :id))
  AND delivery.endpoint = ANY (:endpoints::bigint[]) AND (delivery.state >= 2 OR delivery.worker = :mover)
  AND event.source = :source
ORDER BY delivery.event, delivery.id
LIMIT :limit

-- name: moved_deliveries
SELECT delivery.id, delivery.event, endpoint.id, delivery.state, delivery.lane, delivery.due, delivery.attempts,
       delivery.created_at, delivery.finished_at
FROM cdc_outbox.delivery JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = ANY (:ids::bigint[])
ORDER BY delivery.event, delivery.id

-- name: moved_events
SELECT sequence, id, name, source, record, "time", payload, label_code, label_name
FROM cdc_outbox.event WHERE sequence = ANY (:sequences::bigint[])
ORDER BY sequence

-- name: moved_attempts
SELECT delivery, number, url, status, started_at, duration, error, answer
FROM cdc_outbox.attempt WHERE delivery = ANY (:ids::bigint[])
ORDER BY id

-- name: moved_lanes
-- Lanes that were merged into lanes of held deliveries.
SELECT lane, root FROM cdc_outbox.lane_alias
WHERE root IN (SELECT ~lane FROM cdc_outbox.delivery WHERE state < 2 AND state = 0 AND worker = :mover)

-- name: endpoint_numbers
-- The numbers of endpoints, and whether they were removed, by their ids.
SELECT id, number, removed_at IS NOT NULL FROM cdc_outbox.endpoint WHERE id = ANY (:ids::text[])

-- name: restore_endpoint
-- An endpoint that was removed, of which everything is about to be set.
UPDATE cdc_outbox.endpoint SET removed_at = NULL WHERE id = :id

-- name: deliveries_there
-- Deliveries of events to endpoints.
SELECT event, endpoint, id, state FROM cdc_outbox.delivery
WHERE event = ANY (:events::bigint[]) AND endpoint = ANY (:endpoints::bigint[])

-- name: activate_held
-- Held deliveries take their places in their lanes (merges followed): the first of each goes, unless others are there.
UPDATE cdc_outbox.delivery
SET worker = NULL, lane = placed.lane,
    state = CASE
        WHEN placed.place > 1 OR EXISTS (
            SELECT 1 FROM cdc_outbox.delivery AS other
            WHERE other.endpoint = placed.endpoint AND other.lane = placed.lane AND other.state < 2
        ) THEN 0 ELSE 1
    END
FROM (
    SELECT id, endpoint, lane, row_number() OVER (PARTITION BY endpoint, lane ORDER BY event) AS place
    FROM (
        SELECT held.id, held.endpoint, held.event, COALESCE(lane_alias.root, ~held.lane) AS lane
        FROM cdc_outbox.delivery AS held
        LEFT JOIN cdc_outbox.lane_alias ON lane_alias.lane = ~held.lane
        WHERE held.state < 2 AND held.state = 0 AND held.worker = :mover
    ) AS found
) AS placed
WHERE delivery.id = placed.id

-- name: kept_tables
SELECT DISTINCT table_name FROM cdc_outbox.kept_row WHERE source = :source

-- name: kept_page
SELECT key, digest, content FROM cdc_outbox.kept_row
WHERE source = :source AND table_name = :table AND key > :after::bytea
ORDER BY key LIMIT :limit

-- name: moved_backfills
-- Backfills of a source that have not ended.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place
FROM cdc_outbox.backfill WHERE source = :source AND state IN ('running', 'paused')

-- name: insert_moved_backfill
INSERT INTO cdc_outbox.backfill
    (id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place)
VALUES (:id, :created_at, :actor, :source, :table_name, :condition, :endpoint, :rate, :estimate, :state, :row_count, :place)
ON CONFLICT (id) DO NOTHING

-- name: moved_quarantine
SELECT id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after, backfill
FROM cdc_outbox.quarantine WHERE source = :source

-- name: forget_states
DELETE FROM cdc_outbox.source_state WHERE source = :source

-- name: forget_kept
DELETE FROM cdc_outbox.kept_row WHERE source = :source

-- name: forget_backfills
DELETE FROM cdc_outbox.backfill WHERE source = :source AND state IN ('running', 'paused')

-- name: forget_quarantine
DELETE FROM cdc_outbox.quarantine WHERE source = :source

-- name: count_moved
-- Rows that a move takes along: kept ones, states, backfills that have not ended, changes in quarantine.
SELECT (SELECT count(*) FROM cdc_outbox.kept_row WHERE source = :source),
       (SELECT count(*) FROM cdc_outbox.source_state WHERE source = :source),
       (SELECT count(*) FROM cdc_outbox.backfill WHERE source = :source AND state IN ('running', 'paused')),
       (SELECT count(*) FROM cdc_outbox.quarantine WHERE source = :source)
