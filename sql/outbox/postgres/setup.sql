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
-- Begins a transaction; $locks are those of a `Lock`.  $commit: on waits for the disk.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = $commit;
SELECT $locks

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

-- name: own_rights
-- What this account may do with the outbox's objects, whichever role it has that from: (object, privilege, column or
-- empty), a column only where the table does not include it.  No function of a trigger: nobody calls those.
SELECT relname::text, privilege, ''
FROM pg_catalog.pg_class
CROSS JOIN unnest(
    ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']
    || CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN ARRAY['MAINTAIN'] ELSE ARRAY[]::text[] END
) AS privilege
WHERE relnamespace = 'cdc_outbox'::regnamespace AND relkind IN ('r', 'p', 'v') AND has_table_privilege(pg_class.oid, privilege)
UNION ALL
SELECT relname::text, privilege, attname::text
FROM pg_catalog.pg_class
JOIN pg_catalog.pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege
WHERE relnamespace = 'cdc_outbox'::regnamespace AND relkind IN ('r', 'p', 'v')
  AND NOT has_table_privilege(pg_class.oid, privilege) AND has_column_privilege(pg_class.oid, attnum, privilege)
UNION ALL
SELECT relname::text, privilege, ''
FROM pg_catalog.pg_class CROSS JOIN unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege
WHERE relnamespace = 'cdc_outbox'::regnamespace AND relkind = 'S' AND has_sequence_privilege(pg_class.oid, privilege)
UNION ALL
SELECT proname::text, 'EXECUTE', ''
FROM pg_catalog.pg_proc
WHERE pronamespace = 'cdc_outbox'::regnamespace AND prorettype <> 'trigger'::regtype
  AND has_function_privilege(pg_proc.oid, 'EXECUTE')

-- name: account
-- This account; whether it is a superuser, may make roles, may act as the owner of the schema, may create objects in it.
SELECT current_user::text, rolsuper, rolcreaterole, pg_has_role(nspowner, 'USAGE'),
       has_schema_privilege(pg_namespace.oid, 'CREATE')
FROM pg_catalog.pg_roles, pg_catalog.pg_namespace
WHERE rolname = current_user AND nspname = 'cdc_outbox'

-- name: secret_rights
-- Whether this account may read the endpoints' secrets, change them, and change those of users.
SELECT has_column_privilege('cdc_outbox.endpoint', 'secret', 'SELECT'),
       has_column_privilege('cdc_outbox.endpoint', 'secret', 'UPDATE'),
       has_table_privilege('cdc_outbox.access_user', 'UPDATE')
