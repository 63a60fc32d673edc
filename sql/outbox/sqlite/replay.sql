-- name: retriable
-- What sending deliveries again needs to know of them.
SELECT delivery.id, delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL,
       endpoint.delivery_order, length(event.payload) = 0, event.id
FROM json_each(:ids) AS given
CROSS JOIN delivery ON delivery.id = given.value
CROSS JOIN event ON event.sequence = delivery.event
CROSS JOIN endpoint ON endpoint.number = delivery.endpoint

-- name: reopen
-- A finished delivery waits again, in its lane (merges followed), as if never tried.  The lane, which is to be settled.
UPDATE delivery
SET state = 0, due = :now, attempts = 0, finished_at = NULL,
    lane = COALESCE((SELECT root FROM lane_alias WHERE lane_alias.lane = :lane), :lane)
WHERE id = :id
RETURNING endpoint, lane

-- name: replayable
-- Finished deliveries that may be sent again, oldest events first; the words are those of `deliveries`.
SELECT event.sequence, delivery.id, length(event.payload) = 0
FROM $first
CROSS JOIN $second
CROSS JOIN endpoint
WHERE delivery.event = event.sequence AND endpoint.number = delivery.endpoint
  AND delivery.state >= 2 AND endpoint.removed_at IS NULL AND $where
ORDER BY $sequence, delivery.id
LIMIT :limit

-- name: replayable_events
-- Events in the order stored, and what became of each at one endpoint; $where holds fixed terms with named parameters.
SELECT event.sequence, delivery.id, length(event.payload) = 0, delivery.state,
       event.id, event.name, event.source, event.record, event.time,
       CASE WHEN delivery.id IS NULL THEN event.payload END
FROM event
LEFT JOIN delivery ON delivery.event = event.sequence AND delivery.endpoint = :subscriber
WHERE $where
ORDER BY event.sequence
LIMIT :limit

-- name: undelivered
-- Which of the events in a JSON list can still get their delivery to an endpoint, in order, with what a lane is made of.
SELECT event.sequence, event.source, event.record, event.id, endpoint.delivery_order
FROM json_each(:events) AS given
CROSS JOIN event ON event.sequence = given.value
CROSS JOIN endpoint ON endpoint.number = :endpoint
WHERE endpoint.removed_at IS NULL AND length(event.payload) > 0
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.sequence AND delivery.endpoint = :endpoint)
ORDER BY given.key

-- name: hurry_endpoint
-- Deliveries of an endpoint that wait for their next attempt, the earliest :limit of them, are due now.
UPDATE delivery SET due = :now
WHERE id IN (
    SELECT id FROM delivery
    WHERE endpoint = (SELECT number FROM endpoint WHERE id = :endpoint AND removed_at IS NULL)
      AND state = 1 AND due > :now AND worker IS NULL
    ORDER BY due, id
    LIMIT :limit
)
