-- name: insert_replay
-- A replay that was asked for.
INSERT INTO cdc_outbox.replay (id, created_at, actor, selection, rate, total, state)
VALUES (:id, :created_at, :actor, :selection, :rate, :total, :state)

-- name: find_replay
-- One replay.
SELECT id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
FROM cdc_outbox.replay
WHERE id = :id

-- name: advance_replay
-- A step of a replay, if this worker is still at it.
UPDATE cdc_outbox.replay
SET deliveries = deliveries + :deliveries, expunged = expunged + :expunged, place = :place, leased_until = :until,
    state = :state, finished_at = :finished_at
WHERE id = :id AND worker = :worker AND state = 'running'

-- name: end_replay
-- A replay that runs ends before its end.
UPDATE cdc_outbox.replay SET state = :state, error = :error, finished_at = :now WHERE id = :id AND state = 'running'

-- name: replays
-- Replays, newest first, behind the one that is named.
SELECT id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
FROM cdc_outbox.replay
WHERE :before::text IS NULL OR (created_at, id) < (SELECT last.created_at, last.id FROM cdc_outbox.replay AS last WHERE last.id = :before::text)
ORDER BY created_at DESC, id DESC
LIMIT :limit

-- name: lease_replay
-- The oldest replay that runs and that no other process is at becomes this worker's.
UPDATE cdc_outbox.replay SET worker = :worker, leased_until = :until
WHERE id = (SELECT free.id FROM cdc_outbox.replay AS free
            WHERE free.state = 'running'
              AND (free.leased_until IS NULL OR free.leased_until <= :now OR free.worker = :worker)
            ORDER BY free.created_at, free.id
            LIMIT 1
            FOR UPDATE SKIP LOCKED)
RETURNING id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
