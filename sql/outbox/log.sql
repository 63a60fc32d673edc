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

-- name: durations
-- Seconds that the newest attempts took.
SELECT duration FROM cdc_outbox.attempt ORDER BY id DESC LIMIT :limit

-- name: durations_of
-- Seconds that the attempts of an endpoint's newest deliveries took.  (BETWEEN: of an equal value PostgreSQL's planner
-- forgets the order, and may read the log of all endpoints backwards.)
SELECT attempt.duration
FROM (
    SELECT delivery.id FROM cdc_outbox.delivery
    WHERE delivery.endpoint + 0 BETWEEN (SELECT number + 0 FROM cdc_outbox.endpoint WHERE id = :endpoint)
                                    AND (SELECT number + 0 FROM cdc_outbox.endpoint WHERE id = :endpoint)
    ORDER BY delivery.endpoint + 0 DESC, delivery.event DESC
    LIMIT :limit
) AS newest
CROSS JOIN cdc_outbox.attempt
WHERE attempt.delivery = newest.id

-- name: last_failures
-- An attempt of each endpoint that shows why it fails, as `attempts` has it: the last one of the delivery whose next
-- attempt is the last to come, else of the newest of the thousand newest dead ones.
WITH dead AS MATERIALIZED (
    SELECT id, endpoint FROM cdc_outbox.delivery WHERE state = 3 ORDER BY event DESC LIMIT 1000
), failed AS MATERIALIZED (
    SELECT endpoint.id AS endpoint, COALESCE(
        (
            SELECT active.id
            FROM (
                SELECT delivery.id, delivery.attempts FROM cdc_outbox.delivery
                WHERE delivery.endpoint = endpoint.number AND delivery.state = 1
                ORDER BY delivery.due DESC
                LIMIT 20
            ) AS active
            WHERE active.attempts > 0
            LIMIT 1
        ),
        (SELECT max(dead.id) FROM dead WHERE dead.endpoint = endpoint.number)
    ) AS delivery
    FROM cdc_outbox.endpoint
    WHERE endpoint.id = ANY (:ids::text[])
)
SELECT failed.endpoint, failed.delivery, attempt.number, event.id, event.name, attempt.url, attempt.status,
       attempt.started_at, attempt.duration, attempt.error, attempt.answer
FROM failed
CROSS JOIN cdc_outbox.attempt
CROSS JOIN cdc_outbox.delivery
CROSS JOIN cdc_outbox.event
WHERE attempt.id = (SELECT max(last.id) FROM cdc_outbox.attempt AS last WHERE last.delivery = failed.delivery)
  AND delivery.id = failed.delivery AND event.sequence = delivery.event
