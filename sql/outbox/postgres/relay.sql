-- name: store_begin
-- What storing needs to know: the last ids, which of the events are stored already, and which version of the endpoints
-- there is.
SELECT (SELECT COALESCE(max(sequence), 0) FROM cdc_outbox.event),
       (SELECT COALESCE(max(id), 0) FROM cdc_outbox.delivery),
       (SELECT COALESCE(array_agg(id), '{}') FROM cdc_outbox.event WHERE id = ANY (:ids::text[])),
       (SELECT version FROM cdc_outbox.endpoint_version)

-- name: insert_event
-- Events that are not stored yet.
INSERT INTO cdc_outbox.event (sequence, id, name, source, record, "time", payload, label_code, label_name)
SELECT * FROM unnest(:sequence::bigint[], :id::text[], :name::text[], :source::text[],
                     :record::text[], :time::timestamptz[], :payload::bytea[], :label_code::text[], :label_name::text[])

-- name: insert_delivery
-- Deliveries in order: active where the lane (merges followed) has nothing unfinished, else waiting.  What is unfinished
-- stays so until the store has ended (KEY SHARE: it may be leased), and what is being finished is waited for.
-- ("state < 2" admits the partial index; LIMIT keeps the look-up from being made for all lanes at once.)
WITH given AS (
    SELECT given.n, given.event, given.endpoint, COALESCE(alias.root, given.lane) AS lane
    FROM unnest(:event::bigint[], :endpoint::bigint[], :lane::bigint[])
         WITH ORDINALITY AS given (event, endpoint, lane, n)
    LEFT JOIN LATERAL (SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1) AS alias ON true
)
INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, created_at)
SELECT :last + given.n, given.event, given.endpoint, given.lane,
       CASE WHEN busy.yes OR row_number() OVER (PARTITION BY given.endpoint, given.lane ORDER BY given.n) > 1
            THEN 0 ELSE 1 END,
       :now, :now
FROM given
LEFT JOIN LATERAL (
    SELECT true AS yes FROM cdc_outbox.delivery AS other
    WHERE other.endpoint = given.endpoint AND other.lane = given.lane AND other.state < 2
    LIMIT 1
    FOR KEY SHARE
) AS busy ON true
ORDER BY given.n

-- name: lease_new
-- Leases deliveries that were just made, if they are active and nothing else of their endpoints, which must be enabled,
-- is due.  :full: ids of endpoints that have no room.
UPDATE cdc_outbox.delivery SET worker = :worker, due = :until, attempts = 1
FROM unnest(:event::bigint[], :endpoint::bigint[]) AS given (event, endpoint)
JOIN cdc_outbox.endpoint ON endpoint.number = given.endpoint
WHERE delivery.event = given.event AND delivery.endpoint = given.endpoint AND delivery.state = 1
  AND endpoint.enabled AND endpoint.removed_at IS NULL AND endpoint.id <> ALL (:full::text[])
  AND NOT EXISTS (
      SELECT FROM cdc_outbox.delivery AS older
      WHERE older.endpoint = given.endpoint AND older.state = 1 AND older.due < :now
      OFFSET 0
  )
RETURNING delivery.id, delivery.event, endpoint.id

-- name: set_state
-- Small states of a source.
INSERT INTO cdc_outbox.source_state (source, name, value)
SELECT :source, name, value FROM unnest(:name::text[], :value::text[]) AS given (name, value)
ON CONFLICT (source, name) DO UPDATE SET value = excluded.value

-- name: forget_state
-- Small states that a source has no longer.
DELETE FROM cdc_outbox.source_state WHERE source = :source AND name = ANY (:name::text[])

-- name: set_position
-- Where sources are.  Changes no row where fenced and another position than the expected one is stored, or where
-- another worker reads the source now: :epoch is that of the lease (NULL: of a process that has none).  The sources whose
-- rows it changed.
INSERT INTO cdc_outbox.source_position AS stored (source, position)
SELECT given.source, given.position
FROM unnest(:source::text[], :position::text[], :fenced::boolean[], :expected::text[], :epoch::bigint[])
     AS given (source, position, fenced, expected, epoch)
WHERE (
    NOT given.fenced
    OR given.expected IS NULL
    OR EXISTS (SELECT FROM cdc_outbox.source_position AS its WHERE its.source = given.source OFFSET 0)
) AND (
    given.epoch IS NULL
    OR EXISTS (
        SELECT FROM cdc_outbox.source_lease AS lease WHERE lease.source = given.source AND lease.epoch = given.epoch
        OFFSET 0
    )
)
ON CONFLICT (source) DO UPDATE SET position = excluded.position
WHERE EXISTS (
    SELECT FROM unnest(:source::text[], :fenced::boolean[], :expected::text[]) AS its (source, fenced, expected)
    WHERE its.source = stored.source AND (NOT its.fenced OR its.expected = stored.position)
)
RETURNING source

-- name: store
-- All of this in one round trip, for sources that have nothing else to store (026_store.sql): :version is that of the
-- endpoints by which the deliveries were found, :token that of this process in notices.
SELECT * FROM cdc_outbox.store(
    :now::timestamptz, :token::text, :version::bigint,
    :source::text[], :position::text[], :fenced::boolean[], :expected::text[], :epoch::bigint[],
    :state_source::text[], :state_name::text[], :state_value::text[],
    :id::text[], :name::text[], :event_source::text[], :record::text[], :time::timestamptz[],
    :payload::bytea[], :label_code::text[], :label_name::text[],
    :event::bigint[], :endpoint::bigint[], :lane::bigint[],
    :leased_event::bigint[], :leased_endpoint::bigint[], :worker::text, :until::timestamptz, :full::text[]
)
