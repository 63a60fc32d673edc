-- What an installer of triggers asks.

-- name: inspect_server
-- The server, this session, the first schema of the account that has tables, and whether the names that we need are ours,
-- free or taken.
SELECT
    $server
    n.oid IS NOT NULL AS schema_exists,
    coalesce(pg_has_role(n.nspowner, 'USAGE'), false) AS schema_owned,
    coalesce(obj_description(n.oid, 'pg_namespace') LIKE 'facturascripts-cdc:%', false) AS schema_ours,
    (
        SELECT coalesce(array_agg(c.relname::text), '{}') FROM pg_class c
        WHERE c.relnamespace = n.oid AND c.relname IN ('cdc_installation', 'cdc_capture', 'cdc_journal')
    ) AS present,
    EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'cdc_marker') AS marker_exists,
    EXISTS (
        SELECT FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = n.oid AND c.relname = 'cdc_capture' AND a.attname = 'state'
    ) AS states_exist,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS schema_usable,
    ARRAY(
        SELECT coalesce(r.rolname::text, 'every role')
        FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
        WHERE 'session_replication_role=replica' = ANY (s.setconfig)
            AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        ORDER BY 1
    ) AS silent_roles,
    (
        SELECT coalesce(array_agg(s.nspname || '.' || c.relname ORDER BY 1), '{}')
        FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
        WHERE c.relname IN ('cdc_installation', 'cdc_capture', 'cdc_journal', 'cdc_marker') AND s.nspname <> 'cdc'
    ) AS namesakes
FROM (SELECT 1) AS always LEFT JOIN pg_namespace n ON n.nspname = 'cdc'

-- name: inspect_tables
-- Relations of the ERP's schema that a table name could mean, with what an installer must know of them. A trigger of a
-- partitioned table is made on each of its partitions, too.
SELECT
    c.relname::text AS name,
    c.relkind::text AS kind,
    pg_get_userbyid(c.relowner)::text AS owner,
    has_table_privilege(c.oid, 'TRIGGER') AND NOT EXISTS (
        SELECT FROM pg_partition_tree(c.oid) t WHERE NOT has_table_privilege(t.relid, 'TRIGGER')
    ) AS may_trigger,
    ARRAY(
        SELECT t.relid::text FROM pg_partition_tree(c.oid) t WHERE c.relkind = 'p' AND t.relid <> c.oid ORDER BY 1
    ) AS partitions,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key,
    current_setting('extra_float_digits')::integer < 1 OR EXISTS (
        SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typname NOT IN (
            'bool', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'text', 'varchar', 'bpchar',
            'date', 'time', 'timestamp', 'timestamptz', 'json', 'jsonb', 'uuid'
        )
    ) AS styled,
    coalesce(CASE WHEN $exposed THEN ($foreign) END, '') AS foreign,
    ARRAY(
        SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attnum
    ) AS key,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    ) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname

-- name: inspect_functions
-- Functions in our schema: of triggers, and the one that these call (appends). open: everybody may call it.
SELECT
    p.proname::text AS name,
    p.prosrc AS source,
    p.prosecdef AS definer,
    coalesce(p.proconfig, '{}') AS settings,
    p.prorettype <> 'trigger'::regtype AS appends,
    has_function_privilege('public', p.oid, 'EXECUTE') AND has_schema_privilege('public', n.oid, 'USAGE') AS open
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'cdc' AND (p.prorettype = 'trigger'::regtype AND p.pronargs = 0 OR p.proname = 'cdc_append')
ORDER BY p.proname

-- name: inspect_triggers
-- Triggers with a name of ours in the ERP's schema; function: name within our schema, null when it is another's.
SELECT
    c.relname::text AS "table",
    t.tgname::text AS name,
    t.tgenabled::text AS enabled,
    t.tgtype::integer AS type,
    t.tgqual IS NOT NULL AS condition,
    CASE WHEN f.nspname = 'cdc' THEN p.proname::text END AS function
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE n.nspname = %s AND t.tgname IN ('_cdc_row', '_cdc_update', '_cdc_truncate')
ORDER BY c.relname, t.tgname

-- name: inspect_installation
-- What the installation says of itself.
SELECT version, schema_name FROM cdc.cdc_installation

-- name: inspect_captures
-- Captures as installed.
SELECT table_name, secrets FROM cdc.cdc_capture ORDER BY table_name

-- name: inspect_states
-- Captured tables whose triggers are not those that were installed, also where their definitions are the same.
SELECT i.table_name FROM cdc.cdc_capture AS i WHERE i.state <> ($state)

-- name: survey
-- The tables of the ERP's schema: how many rows each has, about (-1: never counted), and whether it has a primary key.
-- A partitioned table has as many as its partitions.
SELECT
    c.relname::text,
    coalesce(
        (SELECT sum(greatest(part.reltuples, 0)) FROM pg_partition_tree(c.oid) AS tree
         JOIN pg_class part ON part.oid = tree.relid WHERE c.relkind = 'p' AND tree.isleaf),
        c.reltuples
    )::bigint,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname

-- name: backlog
-- How much waits in the journal (counted up to a limit), since when, the disk that it takes, and whether a consumer holds
-- its lock.
SELECT
    (SELECT count(*) FROM (SELECT FROM cdc.cdc_journal LIMIT 100001) AS waiting),
    (SELECT extract(epoch FROM clock_timestamp() - at)::double precision FROM cdc.cdc_journal WHERE isfinite(at) ORDER BY xid, lsn LIMIT 1),
    pg_total_relation_size('cdc.cdc_journal'),
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = %(lock_class)s AND objid = %(lock_consumer)s AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )

-- name: blockers
-- Who holds a lock on the table that keeps a trigger from being made or dropped. Not the text of queries: it has values.
SELECT
    a.pid,
    coalesce(a.usename::text, ''),
    coalesce(a.application_name, ''),
    coalesce(a.state, ''),
    coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::double precision, 0)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.locktype = 'relation' AND l.relation = to_regclass(%s) AND a.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY a.xact_start NULLS LAST LIMIT 1

-- name: unreadable
-- Of these tables, those of which this account may read no column, or only as row policies let it: by the catalogue alone,
-- since planning a read could run code of the ERP's account.
SELECT c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY (%s::text[]) AND c.relkind IN ('r', 'p') AND (
    NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_any_column_privilege(c.oid, 'SELECT') OR row_security_active(c.oid)
)
ORDER BY 1

-- name: may_prove
-- Which of the privileges of a proof the role lacks.
SELECT coalesce(array_agg(name ORDER BY name), '{}')
FROM (
    SELECT 'USAGE ON SCHEMA cdc' AS name WHERE NOT has_schema_privilege('cdc', 'USAGE')
    UNION ALL
    SELECT needed || ' ON cdc.' || c.relname
    FROM pg_class c
    JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN (
        VALUES ('cdc_probe', 'SELECT'), ('cdc_probe', 'INSERT'), ('cdc_probe', 'UPDATE'), ('cdc_probe', 'DELETE'),
            ('cdc_journal', 'SELECT')
    ) AS wanted (relname, needed) ON wanted.relname = c.relname
    WHERE s.nspname = 'cdc' AND NOT has_table_privilege(c.oid, needed)
) AS missing

-- name: recorded
-- What this transaction left in the journal of the probe.
SELECT operation::text, xid::text FROM cdc.cdc_journal
WHERE xid = pg_current_xact_id() AND table_name = 'cdc_probe' ORDER BY lsn
