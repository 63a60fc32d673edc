-- name: set_position
-- Where a source is.  Changes no row where fenced and another position than the expected one is stored.  The source, if
-- it changed its row.
INSERT INTO source_position AS stored (source, position)
SELECT :source, :position
WHERE NOT :fenced
    OR :expected IS NULL
    OR EXISTS (SELECT 1 FROM source_position WHERE source = :source)
ON CONFLICT (source) DO UPDATE SET position = excluded.position
WHERE NOT :fenced OR stored.position = :expected
RETURNING source

-- name: known_events
-- Which of the ids in a JSON list are stored.
SELECT id FROM event WHERE id IN (SELECT value FROM json_each(:ids))

-- name: store_begin
-- What storing needs to know: the last event, and which version of the endpoints there is.
SELECT (SELECT COALESCE(MAX(sequence), 0) FROM event), (SELECT version FROM endpoint_version)

-- name: insert_event
-- One event that is not stored yet.
INSERT INTO event (sequence, id, name, source, record, time, payload, label_code, label_name)
VALUES (:sequence, :id, :name, :source, :record, :time, :payload, :label_code, :label_name)

-- name: insert_delivery
-- One delivery: active when its lane (merges followed) has nothing unfinished, else it waits.
-- Parameters: event, endpoint, lane of the record, now.  (`state < 2` admits the partial index.)
WITH
given (event, endpoint, lane, now) AS (VALUES (:event, :endpoint, :lane, :now)),
placed (event, endpoint, lane, now) AS (
    SELECT event, endpoint, COALESCE((SELECT root FROM lane_alias WHERE lane_alias.lane = given.lane), given.lane), now
    FROM given
)
INSERT INTO delivery (event, endpoint, lane, state, due, created_at)
SELECT event, endpoint, lane,
       NOT EXISTS (
           SELECT 1 FROM delivery AS other
           WHERE other.endpoint = placed.endpoint AND other.lane = placed.lane AND other.state < 2
       ),
       now, now
FROM placed

-- name: lease_new
-- Leases a delivery that was just made, if it is active and nothing else of its endpoint, which must be enabled, is due.
-- Parameters: event, endpoint, worker, until, now, and ids of endpoints that have no room (a JSON list).
UPDATE delivery SET worker = :worker, due = :until, attempts = 1
WHERE event = :event AND delivery.endpoint = :endpoint AND state = 1
  AND (SELECT enabled AND removed_at IS NULL AND id NOT IN (SELECT value FROM json_each(:full))
       FROM endpoint WHERE number = :endpoint)
  AND NOT EXISTS (
      SELECT 1 FROM delivery AS older WHERE older.endpoint = :endpoint AND older.state = 1 AND older.due < :now
  )
RETURNING id, event, (SELECT endpoint.id FROM endpoint WHERE number = delivery.endpoint)

-- name: set_state
-- One small state of a source.
INSERT INTO source_state (source, name, value) VALUES (:source, :name, :value)
ON CONFLICT (source, name) DO UPDATE SET value = excluded.value

-- name: forget_state
-- A small state that a source has no longer.
DELETE FROM source_state WHERE source = :source AND name = :name
