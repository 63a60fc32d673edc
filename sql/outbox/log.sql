-- name: events_after
-- Events behind a sequence, in the order stored.
SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event
WHERE sequence > :after
ORDER BY sequence
LIMIT :limit

-- name: find_events
-- Events in the order stored; $where holds fixed terms with named parameters.
SELECT event.sequence, event.id, event.name, event.source, event.record, event."time", event.payload
FROM cdc_outbox.event
WHERE $where
ORDER BY event.sequence
LIMIT :limit

-- name: find_newest
-- Events, the newest first; $where holds fixed terms with named parameters.
SELECT event.sequence, event.id, event.name, event.source, event.record, event."time", event.payload
FROM cdc_outbox.event
WHERE $where
ORDER BY event.sequence DESC
LIMIT :limit

-- name: event_names
-- The names of events that there are: one look at the index for each.
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM cdc_outbox.event
    UNION ALL
    SELECT (SELECT min(event.name) FROM cdc_outbox.event WHERE event.name > found.name)
    FROM found
    WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL

-- name: finished_tests
-- Finished deliveries that tried an endpoint, by endpoint and state: found by their own index, as there are few.
SELECT endpoint.id, delivery.state, count(*)
FROM cdc_outbox.event
JOIN cdc_outbox.delivery ON delivery.event = event.sequence
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE event.source = 'test' AND substr(event.record, 1, 5) = 'test:' AND delivery.state >= 2
  AND endpoint.removed_at IS NULL
GROUP BY endpoint.id, delivery.state

-- name: log_ends
-- The sequences of the oldest and of the newest event; of an empty log one and zero.
SELECT COALESCE((SELECT min(sequence) FROM cdc_outbox.event), 1),
       COALESCE((SELECT max(sequence) FROM cdc_outbox.event), 0)

-- name: attempts
-- The attempts of a delivery, oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM cdc_outbox.attempt
JOIN cdc_outbox.delivery ON delivery.id = attempt.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE attempt.delivery = :id
ORDER BY attempt.id

-- name: event
-- One event by its id.
SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event WHERE id = :id

-- name: events_of
-- Events by their ids.
SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event WHERE id = ANY (:ids::text[])

-- name: events_newest
-- The newest events, in the order stored.
SELECT * FROM (
    SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event
    ORDER BY sequence DESC
    LIMIT :limit
) AS newest
ORDER BY sequence

-- name: place
-- The sequence of a delivery's event, and its number.
SELECT event, id FROM cdc_outbox.delivery WHERE id = :id
