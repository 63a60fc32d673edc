-- name: worker_number
-- Make a worker known.
INSERT INTO cdc_outbox.worker (name, version) VALUES (:name, :version)
ON CONFLICT (name) DO UPDATE SET version = excluded.version
RETURNING number

-- name: worker_lock
-- Whether this session is the worker's now; the server ends it when it is silent for longer than a lease lasts.
SELECT pg_try_advisory_lock(1667523329, :number::integer),
       CASE WHEN current_setting('server_version_num')::integer >= 140000
            THEN set_config('idle_session_timeout', '10s', false) END

-- name: worker_begin
-- A worker that starts has the leases that its name had, under new epochs: its predecessor must not store any more.
WITH begun AS (
    UPDATE cdc_outbox.worker SET started_at = clock_timestamp(), seen_at = clock_timestamp(), draining = false, lags = '{}'
    WHERE name = :name
), forgotten AS (
    DELETE FROM cdc_outbox.worker WHERE seen_at < clock_timestamp() - interval '1 hour' AND name <> :name
)
UPDATE cdc_outbox.source_lease SET epoch = epoch + 1 WHERE worker = :name

-- name: worker_sign
-- A sign of life.
UPDATE cdc_outbox.worker SET seen_at = clock_timestamp(), lags = :lags::jsonb WHERE name = :name

-- name: live_workers
-- The workers that live.
SELECT name, draining FROM cdc_outbox.live_worker

-- name: add_leases
-- Sources that nobody has read yet.
INSERT INTO cdc_outbox.source_lease (source) SELECT unnest(:sources::text[]) ON CONFLICT (source) DO NOTHING

-- name: leases
-- Who reads what.
SELECT source, worker, epoch, wanted_by FROM cdc_outbox.source_lease

-- name: take_leases
-- Takes sources that no live worker reads; passes over those that another one is taking this moment.
WITH free AS MATERIALIZED (
    SELECT source FROM cdc_outbox.source_lease
    WHERE source = ANY (:sources::text[])
      AND (worker IS NULL OR worker NOT IN (SELECT name FROM cdc_outbox.live_worker))
    ORDER BY source
    FOR UPDATE SKIP LOCKED
)
UPDATE cdc_outbox.source_lease AS lease
SET worker = :name, epoch = epoch + 1, since = clock_timestamp(), wanted_by = NULL
FROM free
WHERE lease.source = free.source
RETURNING lease.source, lease.epoch

-- name: want_leases
-- Asks the workers that read sources to hand them over.
WITH asked AS MATERIALIZED (
    SELECT source FROM cdc_outbox.source_lease
    WHERE source = ANY (:sources::text[]) AND worker <> :name
      AND (wanted_by IS NULL OR wanted_by NOT IN (SELECT name FROM cdc_outbox.live_worker))
    ORDER BY source
    FOR UPDATE SKIP LOCKED
)
UPDATE cdc_outbox.source_lease AS lease SET wanted_by = :name FROM asked WHERE lease.source = asked.source

-- name: release_leases
-- Ends leases of a worker (all of them where :sources is NULL): each goes to the worker that asked for it, or is free.
UPDATE cdc_outbox.source_lease
SET worker = (SELECT live.name FROM cdc_outbox.live_worker AS live WHERE live.name = source_lease.wanted_by),
    epoch = epoch + 1, since = clock_timestamp(), wanted_by = NULL
WHERE worker = :name AND (:sources::text[] IS NULL OR source = ANY (:sources::text[]))

-- name: forget_worker
-- A worker that ends.
DELETE FROM cdc_outbox.worker WHERE name = :name

-- name: lock_reader
-- Whether this session reads a source that has no lock of its own.
SELECT pg_try_advisory_lock(:lock::bigint)

-- name: unlock_reader
-- Let another session read it.
SELECT pg_advisory_unlock(:lock::bigint)

-- name: workers
-- Workers of the last hour, with what each reads, since when, and how far behind.
SELECT worker.name, worker.version, worker.started_at, worker.seen_at, live.name IS NOT NULL, worker.draining,
       (SELECT COALESCE(jsonb_object_agg(source, since), '{}') FROM cdc_outbox.source_lease AS lease
        WHERE lease.worker = worker.name),
       worker.lags
FROM cdc_outbox.worker
LEFT JOIN cdc_outbox.live_worker AS live ON live.name = worker.name
ORDER BY worker.name

-- name: drain_worker
-- A worker that is to give its sources away, or may take some again.
UPDATE cdc_outbox.worker SET draining = :draining WHERE name = :name
