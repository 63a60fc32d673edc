-- name: lease
-- Takes deliveries (a JSON list of ids) until `due`; their attempts count from here.
UPDATE delivery SET worker = ?, due = ?, attempts = attempts + 1 WHERE id IN (SELECT value FROM json_each(?))

-- name: due
-- Deliveries that may be leased, of enabled endpoints: one of each in the order of their turn, then the second of each, and
-- so on.  :room: a JSON object, endpoint id → [how many at most, turn]; unless :only, those of all other endpoints, too, and
-- first.  Each endpoint's are read in order, and no further than needed: the backlog of one slows down no other.
-- One statement for all: after each step of one the driver waits for the interpreter, which the event loop has.
WITH RECURSIVE room (endpoint, most, turn) AS (
    SELECT endpoint.number, json_extract(value, '$[0]'), json_extract(value, '$[1]')
    FROM json_each(:room) CROSS JOIN endpoint ON endpoint.id = key
    WHERE enabled AND removed_at IS NULL AND json_extract(value, '$[0]') > 0
    UNION ALL
    SELECT number, :limit, -1 FROM endpoint
    WHERE NOT :only AND enabled AND removed_at IS NULL AND id NOT IN (SELECT key FROM json_each(:room))
),
head (rank, turn, due, id, endpoint, most) AS (
    SELECT 1, room.turn, delivery.due, delivery.id, room.endpoint, room.most
    FROM room CROSS JOIN delivery ON delivery.id = (
        SELECT oldest.id FROM delivery AS oldest
        WHERE oldest.endpoint = room.endpoint AND oldest.state = 1 AND oldest.due <= :now
        ORDER BY oldest.due, oldest.id LIMIT 1
    )
    UNION ALL
    SELECT head.rank + 1, head.turn, delivery.due, delivery.id, head.endpoint, head.most
    FROM head CROSS JOIN delivery ON delivery.id = COALESCE(
        (SELECT next.id FROM delivery AS next  -- (due, id) > (…) would read all that are due at the same moment
         WHERE next.endpoint = head.endpoint AND next.state = 1 AND next.due = head.due AND next.id > head.id
         ORDER BY next.id LIMIT 1),
        (SELECT later.id FROM delivery AS later
         WHERE later.endpoint = head.endpoint AND later.state = 1 AND later.due > head.due AND later.due <= :now
         ORDER BY later.due, later.id LIMIT 1)
    )
    WHERE head.rank < head.most
    ORDER BY 1, 2, 3, 4
    LIMIT :limit
)
SELECT delivery.due, delivery.id, endpoint.id, event.id, event.name, event.record, delivery.attempts + 1, event.payload,
       event.source
FROM head
CROSS JOIN delivery ON delivery.id = head.id
CROSS JOIN endpoint ON endpoint.number = head.endpoint
CROSS JOIN event ON event.sequence = delivery.event

-- name: insert_attempt
-- Attempts as the log keeps them (a JSON list of lists, in this order).
-- One statement for all: after each that it runs the driver waits for the interpreter, which the event loop has.
INSERT INTO attempt (number, url, status, started_at, duration, error, answer, delivery)
SELECT
    json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
    json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]')
FROM json_each(?)

-- name: insert_attempts
-- The attempts that travelled in one request, as the log keeps them, for a JSON list of deliveries.
INSERT INTO attempt (number, url, status, started_at, duration, error, answer, delivery)
SELECT ?, ?, ?, ?, ?, ?, ?, value FROM json_each(?)

-- name: finish
-- The new state of deliveries (a JSON list of ids) that this worker still holds for this attempt; their leases end.
-- (`+` keeps to the ids: the index of workers would be searched for each.)
UPDATE delivery SET state = ?, due = ?, finished_at = ?, worker = NULL
WHERE id IN (SELECT value FROM json_each(?)) AND +worker = ? AND attempts = ?

-- name: note_failure
-- The endpoint of a delivery whose attempt failed fails since then, unless it did before.
UPDATE endpoint SET failing_since = ?
WHERE failing_since IS NULL AND number = (SELECT endpoint FROM delivery WHERE id = ?)

-- name: note_success
-- The endpoints of delivered deliveries (a JSON list of ids) fail no longer.
UPDATE endpoint SET failing_since = NULL
WHERE failing_since IS NOT NULL
  AND number IN (SELECT endpoint FROM delivery WHERE id IN (SELECT value FROM json_each(?)))

-- name: forget_answers
-- Answers to attempts of deliveries (a JSON list of ids) whose events were expunged.
UPDATE attempt SET answer = ''
WHERE answer <> '' AND delivery IN (
    SELECT delivery.id
    FROM json_each(:ids) AS given
    CROSS JOIN delivery ON delivery.id = given.value
    CROSS JOIN event ON event.sequence = delivery.event
    WHERE length(event.payload) = 0
)

-- name: give_back
-- Gives back a lease on which nothing was sent, if the worker still holds the one that counted this attempt: it is
-- uncounted.
UPDATE delivery SET worker = NULL, due = :now, attempts = attempts - 1
WHERE id = :id AND +worker = :worker AND attempts = :number
RETURNING endpoint, lane

-- name: due_endpoints
-- Enabled endpoints with something due, of runs of numbers (after, up to): the first of each run, the second of each, and
-- so on.  The index of what is due is read once for each run, and for each endpoint in them that has something unfinished;
-- all others cost nothing.
WITH RECURSIVE run (after, upto) AS (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:runs)
),
active (endpoint, upto) AS (
    SELECT (SELECT MIN(delivery.endpoint) FROM delivery
            WHERE state = 1 AND delivery.endpoint > run.after AND delivery.endpoint <= run.upto), run.upto
    FROM run
    UNION ALL
    SELECT (SELECT MIN(delivery.endpoint) FROM delivery
            WHERE state = 1 AND delivery.endpoint > active.endpoint AND delivery.endpoint <= active.upto), active.upto
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT endpoint.number, endpoint.id
FROM active CROSS JOIN endpoint ON endpoint.number = active.endpoint
WHERE endpoint.enabled AND endpoint.removed_at IS NULL
  AND endpoint.id NOT IN (SELECT value FROM json_each(:without))
  AND EXISTS (
      SELECT 1 FROM delivery
      WHERE delivery.endpoint = active.endpoint AND delivery.state = 1 AND delivery.due <= :now
  )
LIMIT :most

-- name: late_endpoints
-- Endpoints with something that is due after a moment.  (Read as `due_endpoints`.)
WITH RECURSIVE active (endpoint) AS (
    SELECT (SELECT MIN(endpoint) FROM delivery WHERE state = 1 AND endpoint > 0)
    UNION ALL
    SELECT (SELECT MIN(delivery.endpoint) FROM delivery WHERE state = 1 AND delivery.endpoint > active.endpoint)
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT endpoint.id
FROM active CROSS JOIN endpoint ON endpoint.number = active.endpoint
WHERE (SELECT MAX(due) FROM delivery WHERE delivery.endpoint = active.endpoint AND delivery.state = 1) > :earliest

-- name: next_due
-- The earliest moment at which a delivery of an enabled endpoint may be leased; :without: ids of endpoints that do not
-- count.  (Read as `due_endpoints`.)
WITH RECURSIVE active (endpoint) AS (
    SELECT (SELECT MIN(endpoint) FROM delivery WHERE state = 1 AND endpoint > 0)
    UNION ALL
    SELECT (SELECT MIN(delivery.endpoint) FROM delivery WHERE state = 1 AND delivery.endpoint > active.endpoint)
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT MIN((SELECT MIN(due) FROM delivery WHERE delivery.endpoint = active.endpoint AND delivery.state = 1)) AS due
FROM active CROSS JOIN endpoint ON endpoint.number = active.endpoint
WHERE enabled AND removed_at IS NULL AND id NOT IN (SELECT value FROM json_each(:without))

-- name: oldest_due
-- Of each enabled endpoint with something due: since when the oldest is.  (Read as `due_endpoints`.)
WITH RECURSIVE active (endpoint) AS (
    SELECT (SELECT MIN(endpoint) FROM delivery WHERE state = 1 AND endpoint > 0)
    UNION ALL
    SELECT (SELECT MIN(delivery.endpoint) FROM delivery WHERE state = 1 AND delivery.endpoint > active.endpoint)
    FROM active WHERE active.endpoint IS NOT NULL
),
oldest (id, due) AS (
    SELECT id, (SELECT MIN(due) FROM delivery WHERE delivery.endpoint = active.endpoint AND delivery.state = 1)
    FROM active CROSS JOIN endpoint ON endpoint.number = active.endpoint
    WHERE enabled AND removed_at IS NULL
)
SELECT id, due FROM oldest WHERE due <= :now
