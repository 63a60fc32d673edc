-- name: session
-- Of every session of the outbox: our own time zone; no waiting for ever for a lock, and no lock held for long by a
-- process that stands still (others that wait for it must not be silent for so long that they lose their sources); small
-- statements, planned once for tables of any size: by index, row by row.
SET TIME ZONE 'UTC';
SET default_transaction_isolation = 'read committed';
SET default_transaction_read_only = off;
SET synchronous_commit = $commit;
SET lock_timeout = '10s';
SET idle_in_transaction_session_timeout = '5s';
SET jit = off;
SET enable_seqscan = $plain;
SET enable_hashjoin = $plain;
SET enable_mergejoin = $plain

-- name: begin
-- Begins a transaction that may change which deliveries are active: $lock is pg_advisory_xact_lock (of one that may put
-- deliveries into any lane) or pg_advisory_xact_lock_shared (of one that ends what it leased).  $commit: on waits for
-- the disk.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = $commit;
SELECT $lock(1667523328, 4)

-- name: installed
-- Whether the schema is there, the version table in it, whether it holds anything else, and how the database writes text.
SELECT to_regnamespace('cdc_outbox') IS NOT NULL,
       to_regclass('cdc_outbox.migration') IS NOT NULL,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('cdc_outbox')),
       current_setting('server_encoding')

-- name: schema
-- What the outbox's tables are like in this database: for whoever helps.
SELECT table_name::text, column_name::text, data_type::text
FROM information_schema.columns
WHERE table_schema = 'cdc_outbox'
ORDER BY table_name, ordinal_position

-- name: replication
-- Whether commits wait for a standby, and whether a physical one is connected; a base backup is none.
SELECT current_setting('synchronous_standby_names') <> '',
       EXISTS (
           SELECT FROM pg_stat_replication AS standby
           WHERE standby.application_name <> 'pg_basebackup' AND standby.pid NOT IN (
               SELECT active_pid FROM pg_replication_slots WHERE slot_type = 'logical' AND active_pid IS NOT NULL
           )
       )

-- name: complete
-- The counts of finished deliveries, from all of them; new endpoints and attempts are numbered behind those that came.
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, 0, count(*) FROM cdc_outbox.delivery WHERE state >= 2 GROUP BY endpoint, state;
SELECT setval(pg_get_serial_sequence('cdc_outbox.endpoint', 'number'),
              (SELECT COALESCE(max(number), 0) + 1 FROM cdc_outbox.endpoint), false);
SELECT setval(pg_get_serial_sequence('cdc_outbox.attempt', 'id'),
              (SELECT COALESCE(max(id), 0) + 1 FROM cdc_outbox.attempt), false)

-- name: main_table
SELECT to_regclass('cdc_outbox.source_position')::text
