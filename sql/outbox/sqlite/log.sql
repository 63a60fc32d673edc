-- name: deliveries
-- Deliveries as the log shows them, those of the newest events first.  $first and $second are event and delivery, the one
-- to begin with first; $sequence is the event's, as that one has it; $where holds fixed terms with named parameters.
SELECT delivery.id, endpoint.id, event.id, event.name, event.record, event.source, delivery.state,
       delivery.worker IS NOT NULL, delivery.attempts, delivery.due, delivery.created_at, delivery.finished_at,
       attempt.status, attempt.error, length(event.payload) = 0, event.sequence
FROM $first
CROSS JOIN $second
CROSS JOIN endpoint
LEFT JOIN attempt ON attempt.id = (SELECT MAX(id) FROM attempt WHERE attempt.delivery = delivery.id)
WHERE delivery.event = event.sequence AND endpoint.number = delivery.endpoint AND $where
ORDER BY $sequence DESC, delivery.id DESC
LIMIT :limit

-- name: attempts_of
-- The attempts of deliveries (a JSON list of ids), of each the oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM json_each(:ids) AS given
CROSS JOIN delivery ON delivery.id = given.value
CROSS JOIN event ON event.sequence = delivery.event
CROSS JOIN attempt ON attempt.delivery = delivery.id
ORDER BY given.key, attempt.id

-- name: newest_event
-- The newest event of a record, of some sources (a JSON list) if any are given.
SELECT sequence, id, name, source, record, time, payload FROM event
WHERE record = :record AND (:sources IS NULL OR +source IN (SELECT value FROM json_each(:sources)))
ORDER BY sequence DESC
LIMIT 1

-- name: counts
-- Deliveries by endpoint and state, of endpoints that were not removed.  State 5 are the leased among the active ones.
-- Of each endpoint only :most unfinished ones are looked at, besides the leased.  :ids (a JSON list): of these only;
-- NULL: of all.
WITH wanted (number, id, created_at) AS MATERIALIZED (
    SELECT number, id, created_at FROM endpoint
    WHERE removed_at IS NULL AND id IN (SELECT value FROM json_each(:ids))
    UNION ALL
    SELECT number, id, created_at FROM endpoint WHERE removed_at IS NULL AND :ids IS NULL
)
SELECT wanted.id, counted.state, counted.deliveries
FROM wanted
LEFT JOIN (
    SELECT number AS endpoint, given.value AS state,
           (SELECT COUNT(*)
            FROM (SELECT delivery.state FROM delivery
                  WHERE delivery.endpoint = unfinished.number AND delivery.state < 2 LIMIT :most) AS looked_at
            WHERE looked_at.state = given.value) AS deliveries
    FROM wanted AS unfinished CROSS JOIN json_each('[0, 1]') AS given
    UNION ALL
    SELECT endpoint, 5, COUNT(*) FROM delivery WHERE worker IS NOT NULL GROUP BY endpoint
    UNION ALL
    SELECT endpoint, state, deliveries FROM finished_count WHERE endpoint IN (SELECT number FROM wanted)
) AS counted ON counted.endpoint = wanted.number
ORDER BY wanted.created_at, wanted.number
