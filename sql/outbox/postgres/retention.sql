-- name: retention_look
-- Events behind a sequence, oldest first, as retention looks at them: whether the payload is there, whether a delivery is
-- unfinished, when the newest finished one, and the newest dead letter, was finished.  The newest event is left out.
SELECT event.sequence, event."time", octet_length(event.payload) > 0, COALESCE(its.unfinished, false), its.finished_at,
       its.dead_at
FROM cdc_outbox.event
LEFT JOIN LATERAL (
    SELECT bool_or(state < 2) AS unfinished,
           max(finished_at) FILTER (WHERE state >= 2) AS finished_at,
           max(finished_at) FILTER (WHERE state = 3) AS dead_at
    FROM cdc_outbox.delivery
    WHERE delivery.event = event.sequence
) AS its ON true
WHERE event.sequence > :after AND event.sequence < :newest
ORDER BY event.sequence
LIMIT :limit

-- name: finished_of_events
-- Deliveries of events that were finished before a moment; never the newest delivery.
SELECT delivery.id FROM cdc_outbox.delivery
WHERE delivery.event = ANY (:events::bigint[]) AND delivery.state >= 2 AND delivery.finished_at < :before
  AND delivery.id <> (SELECT max(newest.id) FROM cdc_outbox.delivery AS newest)

-- name: delete_deliveries
-- Finished deliveries whose attempts are gone; they are not counted any more.
WITH gone AS (
    DELETE FROM cdc_outbox.delivery WHERE id = ANY (:ids::bigint[]) RETURNING endpoint, state
)
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, pg_backend_pid() & 15, -count(*) FROM gone
GROUP BY endpoint, state
ORDER BY endpoint, state
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries

-- name: delete_events
-- Those of the events that have no delivery.
DELETE FROM cdc_outbox.event
WHERE sequence = ANY (:events::bigint[])
  AND NOT EXISTS (SELECT FROM cdc_outbox.delivery WHERE delivery.event = event.sequence OFFSET 0)

-- name: empty_answers
-- What endpoints answered to events.
UPDATE cdc_outbox.attempt SET answer = ''
FROM cdc_outbox.delivery
WHERE delivery.event = ANY (:events::bigint[]) AND attempt.delivery = delivery.id AND attempt.answer <> ''

-- name: empty_payloads
-- Payloads of events, for good.
UPDATE cdc_outbox.event SET payload = '', label_code = NULL, label_name = NULL
WHERE sequence = ANY (:events::bigint[]) AND octet_length(payload) > 0

-- name: cancel_events
-- Ends every unfinished delivery of events, and counts it as finished; where they stood in line.
WITH ended AS (
    UPDATE cdc_outbox.delivery SET state = 4, worker = NULL, finished_at = :now
    WHERE event = ANY (:events::bigint[]) AND state < 2
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
