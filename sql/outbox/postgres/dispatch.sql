-- name: lease
-- Takes due deliveries of enabled endpoints ($which: of all, or those in :ids) until :until: one of each endpoint before a
-- second of any; their attempts count from here.  What another process is taking this moment is passed over, what a store
-- locks (`insert_delivery`) is not.
-- :rooms: endpoint id → how many at most, and the endpoint's turn.  $from: nothing, or a condition on the due time, by
-- which the search continues where a former one ended; $due: then the column that says where this one ends.
WITH head AS MATERIALIZED (
    SELECT head.id, head.due, endpoint.id AS endpoint_id
    FROM cdc_outbox.endpoint
    CROSS JOIN LATERAL (
        SELECT oldest.id, oldest.due, row_number() OVER () AS rank
        FROM (
            SELECT delivery.id, delivery.due FROM cdc_outbox.delivery
            WHERE delivery.endpoint = endpoint.number AND delivery.state = 1 AND delivery.due <= :now $from
            ORDER BY delivery.due, delivery.id
            LIMIT GREATEST(0, LEAST(:limit, COALESCE((:rooms::jsonb -> endpoint.id ->> 0)::integer, :limit)))
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS oldest
    ) AS head
    WHERE endpoint.enabled AND endpoint.removed_at IS NULL AND $which
    ORDER BY head.rank, (:rooms::jsonb -> endpoint.id ->> 1)::integer NULLS FIRST, head.due, head.id
    LIMIT :limit
),
taken AS (
    UPDATE cdc_outbox.delivery SET worker = :worker, due = :until, attempts = delivery.attempts + 1
    FROM head
    WHERE delivery.id = head.id
    RETURNING delivery.id, delivery.event, delivery.attempts, head.due, head.endpoint_id
)
SELECT taken.id, taken.endpoint_id, event.id, event.name, event.record, taken.attempts, event.payload, event.source $due
FROM taken
JOIN cdc_outbox.event ON event.sequence = taken.event
ORDER BY taken.due, taken.id

-- name: lease_of
-- `lease` for one endpoint.
WITH head AS MATERIALIZED (
    SELECT delivery.id, delivery.due FROM cdc_outbox.delivery
    WHERE delivery.endpoint = (
            SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint AND enabled AND removed_at IS NULL
        )
        AND delivery.state = 1 AND delivery.due <= :now $from
    ORDER BY delivery.due, delivery.id
    LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
),
taken AS (
    UPDATE cdc_outbox.delivery SET worker = :worker, due = :until, attempts = delivery.attempts + 1
    FROM head
    WHERE delivery.id = head.id
    RETURNING delivery.id, delivery.event, delivery.attempts, head.due
)
SELECT taken.id, :endpoint, event.id, event.name, event.record, taken.attempts, event.payload, event.source $due
FROM taken
JOIN cdc_outbox.event ON event.sequence = taken.event
ORDER BY taken.due, taken.id

-- name: hold
-- Locks deliveries that attempts were made for, in the order of ids: (id, endpoint, lane, worker, attempts, crowded).
-- $locked: nothing, or to leave those that another transaction locks, a store in their lane for one.
-- ("state < 2 AND state > 0" admits the index by lane only, not the one by due time, which would be read whole.)
-- crowded: another one of the lane is active too (renamed records), or one of an older event waits (retried, replayed).
SELECT delivery.id, delivery.endpoint, delivery.lane, delivery.worker, delivery.attempts,
       delivery.state = 1 AND (
           EXISTS (
               SELECT FROM cdc_outbox.delivery AS other
               WHERE other.endpoint = delivery.endpoint AND other.lane = delivery.lane
                 AND other.state < 2 AND other.state > 0 AND other.id <> delivery.id
               OFFSET 0
           ) OR EXISTS (
               SELECT FROM cdc_outbox.delivery AS older
               WHERE older.endpoint = delivery.endpoint AND older.lane = delivery.lane
                 AND older.state < 2 AND older.state = 0 AND older.event < delivery.event
               OFFSET 0
           )
       )
FROM cdc_outbox.delivery
WHERE delivery.id = ANY (:ids::bigint[])
ORDER BY delivery.id
FOR UPDATE OF delivery $locked

-- name: known_deliveries
SELECT id FROM cdc_outbox.delivery WHERE id = ANY (:ids::bigint[])

-- name: insert_attempts
-- Attempts as the log keeps them, and their counters for the statistics (:delivered: NULL of one that does not count).
-- An attempt that the delivery's newest repeats was recorded by a write of which only the answer was lost.
WITH new AS MATERIALIZED (
    SELECT given.*
    FROM unnest(:deliveries::bigint[], :numbers::integer[], :urls::text[], :statuses::integer[],
                :starts::timestamptz[], :durations::double precision[], :errors::text[], :answers::text[],
                :endpoint_ids::text[], :sources::text[], :delivered::boolean[])
         WITH ORDINALITY AS given (delivery, number, url, status, started_at, duration, error, answer,
                                   endpoint, source, delivered, n)
    LEFT JOIN LATERAL (
        SELECT attempt.number, attempt.status, attempt.started_at, attempt.duration, attempt.error FROM cdc_outbox.attempt
        WHERE attempt.delivery = given.delivery
        ORDER BY attempt.id DESC
        LIMIT 1
    ) AS last ON true
    WHERE (last.number, last.status, last.started_at, last.duration, last.error)
          IS DISTINCT FROM (given.number, given.status, given.started_at, given.duration, given.error)
),
recorded AS (
    INSERT INTO cdc_outbox.attempt (delivery, number, url, status, started_at, duration, error, answer)
    SELECT delivery, number, url, status, started_at, duration, error, answer FROM new ORDER BY n
)
INSERT INTO cdc_outbox.activity (period_start, endpoint, source, shard, delivered, failed, seconds)
SELECT :minute, endpoint.number, new.source, pg_backend_pid() & 15,
       count(*) FILTER (WHERE new.delivered), count(*) FILTER (WHERE NOT new.delivered), sum(new.duration)
FROM new JOIN cdc_outbox.endpoint ON endpoint.id = new.endpoint
WHERE new.delivered IS NOT NULL
GROUP BY endpoint.number, new.source
ORDER BY endpoint.number, new.source
ON CONFLICT (period_start, endpoint, source, shard) DO UPDATE SET
    delivered = activity.delivered + excluded.delivered, failed = activity.failed + excluded.failed,
    seconds = activity.seconds + excluded.seconds

-- name: finish
-- New states of deliveries that the worker holds; their leases end, and finished ones are counted.
WITH given AS (
    SELECT * FROM unnest(:ids::bigint[], :states::smallint[], :dues::timestamptz[]) AS given (id, state, due)
),
concluded AS (
    UPDATE cdc_outbox.delivery
    SET state = given.state, due = given.due, worker = NULL,
        finished_at = CASE WHEN given.state >= 2 THEN :now::timestamptz END
    FROM given
    WHERE delivery.id = given.id
    RETURNING delivery.endpoint, delivery.state
)
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, pg_backend_pid() & 15, count(*) FROM concluded WHERE state >= 2
GROUP BY endpoint, state
ORDER BY endpoint, state
ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries

-- name: note_health
-- Since when endpoints fail: those that are well fail no longer; of the others the first failure counts.
-- Locked in the order of numbers, and only where something changes.
UPDATE cdc_outbox.endpoint SET failing_since = changed.since
FROM (
    SELECT endpoint.number, given.since
    FROM unnest(:endpoints::bigint[], :since::timestamptz[]) AS given (number, since)
    JOIN cdc_outbox.endpoint ON endpoint.number = given.number
    WHERE (endpoint.failing_since IS NULL) <> (given.since IS NULL)
    ORDER BY endpoint.number
    FOR NO KEY UPDATE OF endpoint
) AS changed
WHERE endpoint.number = changed.number

-- name: forget_answers
-- Answers to attempts of deliveries whose events were expunged.
UPDATE cdc_outbox.attempt SET answer = ''
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE delivery.id = ANY (:ids::bigint[]) AND octet_length(event.payload) = 0
  AND attempt.delivery = delivery.id AND attempt.answer <> ''

-- name: give_back
-- Gives back leases on which nothing was sent, as far as the worker still holds those that counted these attempts: they are
-- uncounted.  (Only what is leased has a worker; a condition on the state would admit the index by due time.)
UPDATE cdc_outbox.delivery SET worker = NULL, due = :now, attempts = delivery.attempts - 1
FROM unnest(:id::bigint[], :number::integer[]) AS given (id, number)
WHERE delivery.id = given.id AND delivery.worker = :worker AND delivery.attempts = given.number
RETURNING delivery.endpoint, delivery.lane

-- name: due_endpoints
-- Enabled endpoints with something due, of runs of numbers (after, up to): the first of each run, the second of each, and
-- so on.  The index of what is due is read once for each run, and for each endpoint in them that has something unfinished;
-- all others cost nothing.
WITH RECURSIVE run (after, upto) AS MATERIALIZED (
    SELECT (value ->> 0)::bigint, (value ->> 1)::bigint FROM jsonb_array_elements(:runs::jsonb) AS runs (value)
),
active (endpoint, upto) AS (
    SELECT (SELECT min(delivery.endpoint) FROM cdc_outbox.delivery
            WHERE state = 1 AND delivery.endpoint > run.after AND delivery.endpoint <= run.upto), run.upto
    FROM run
    UNION ALL
    SELECT (SELECT min(delivery.endpoint) FROM cdc_outbox.delivery
            WHERE state = 1 AND delivery.endpoint > active.endpoint AND delivery.endpoint <= active.upto), active.upto
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT active.endpoint, its.id
FROM active
CROSS JOIN LATERAL (
    SELECT id FROM cdc_outbox.endpoint
    WHERE number = active.endpoint AND enabled AND removed_at IS NULL AND id <> ALL (:without::text[])
    OFFSET 0
) AS its
WHERE EXISTS (
    SELECT FROM cdc_outbox.delivery
    WHERE delivery.endpoint = active.endpoint AND delivery.state = 1 AND delivery.due <= :now
    OFFSET 0
)
LIMIT :most

-- name: due_endpoints_from
-- `due_endpoints`, while each search continues where a former one ended (`DueFloors`).
SELECT endpoint.number, endpoint.id
FROM cdc_outbox.endpoint
WHERE EXISTS (
      SELECT FROM jsonb_array_elements(:runs::jsonb) AS run (value)
      WHERE endpoint.number > (value ->> 0)::bigint AND endpoint.number <= (value ->> 1)::bigint
  )
  AND endpoint.enabled AND endpoint.removed_at IS NULL AND endpoint.id <> ALL (:without::text[])
  AND EXISTS (
      SELECT FROM cdc_outbox.delivery
      WHERE delivery.endpoint = endpoint.number AND delivery.state = 1 AND delivery.due <= :now
        AND delivery.due >= COALESCE((:floors::jsonb ->> endpoint.id)::timestamptz, :base)
      ORDER BY delivery.due
      LIMIT 1 OFFSET 0
  )
ORDER BY endpoint.number
LIMIT :most

-- name: due_reads
-- How often the index of what is due was searched, and entries read from it, those of finished deliveries included.
SELECT pg_stat_get_numscans(its.oid), pg_stat_get_tuples_returned(its.oid)
FROM (SELECT 'cdc_outbox.delivery_due'::regclass::oid) AS its (oid)

-- name: late_endpoints
-- Endpoints with something that is due after a moment.  (Read as `due_endpoints`.)
WITH RECURSIVE active (endpoint) AS (
    SELECT (SELECT min(endpoint) FROM cdc_outbox.delivery WHERE state = 1 AND endpoint > 0)
    UNION ALL
    SELECT (SELECT min(delivery.endpoint) FROM cdc_outbox.delivery
            WHERE state = 1 AND delivery.endpoint > active.endpoint)
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT its.id
FROM active
CROSS JOIN LATERAL (SELECT id FROM cdc_outbox.endpoint WHERE number = active.endpoint OFFSET 0) AS its
WHERE (SELECT max(due) FROM cdc_outbox.delivery WHERE delivery.endpoint = active.endpoint AND state = 1) > :earliest

-- name: next_due
-- The earliest moment at which a delivery of an enabled endpoint may be leased; :without: ids of endpoints that do not
-- count.  (Read as `due_endpoints`.)
WITH RECURSIVE active (endpoint) AS (
    SELECT (SELECT min(endpoint) FROM cdc_outbox.delivery WHERE state = 1 AND endpoint > 0)
    UNION ALL
    SELECT (SELECT min(delivery.endpoint) FROM cdc_outbox.delivery
            WHERE state = 1 AND delivery.endpoint > active.endpoint)
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT min((SELECT min(due) FROM cdc_outbox.delivery WHERE delivery.endpoint = active.endpoint AND state = 1))
FROM active
CROSS JOIN LATERAL (
    SELECT 1 FROM cdc_outbox.endpoint
    WHERE number = active.endpoint AND enabled AND removed_at IS NULL AND id <> ALL (:without::text[])
    OFFSET 0
) AS its

-- name: oldest_due
-- Of each enabled endpoint with something due: since when the oldest is.  (Read as `due_endpoints`.)
WITH RECURSIVE active (endpoint) AS (
    SELECT (SELECT min(endpoint) FROM cdc_outbox.delivery WHERE state = 1 AND endpoint > 0)
    UNION ALL
    SELECT (SELECT min(delivery.endpoint) FROM cdc_outbox.delivery
            WHERE state = 1 AND delivery.endpoint > active.endpoint)
    FROM active WHERE active.endpoint IS NOT NULL
)
SELECT its.id, oldest.due
FROM active
CROSS JOIN LATERAL (
    SELECT id FROM cdc_outbox.endpoint WHERE number = active.endpoint AND enabled AND removed_at IS NULL OFFSET 0
) AS its
CROSS JOIN LATERAL (
    SELECT delivery.due FROM cdc_outbox.delivery
    WHERE delivery.endpoint = active.endpoint AND delivery.state = 1 AND delivery.due <= :now
    ORDER BY delivery.due
    LIMIT 1
) AS oldest
