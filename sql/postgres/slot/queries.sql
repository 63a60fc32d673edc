-- What an installer of publication and slot asks.

-- name: inspect_server
-- The server, this session, the first schema of the account that has tables, and whether the names that we need are ours,
-- free or taken. What not all versions have is read through JSON.
SELECT
    $server
    EXISTS (
        SELECT FROM pg_roles r
        WHERE (r.rolname = current_user AND (r.rolreplication OR r.rolsuper))
            OR (r.rolname = 'rds_replication' AND pg_has_role(r.oid, 'USAGE'))
    ) AS may_replicate,
    current_setting('wal_level') AS wal_level,
    current_setting('max_replication_slots')::integer - (SELECT count(*) FROM pg_replication_slots)::integer AS free_slots,
    current_setting('max_slot_wal_keep_size') AS keep_size,
    p.oid IS NOT NULL AS published,
    coalesce(pg_has_role(p.pubowner, 'USAGE'), false) AS publication_owned,
    obj_description(p.oid, 'pg_publication') AS comment,
    $publication_flaws AS flaws,
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = %(lock_class)s AND objid = %(lock_consumer)s AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS consumer
FROM (SELECT 1) AS always LEFT JOIN pg_publication p ON p.pubname = %(publication)s

-- name: inspect_slot
-- The slot with our name, whoever made it. invalid: why the server has given it up. retained: bytes of log kept for it;
-- unread: bytes behind what its reader has confirmed. idle: seconds since somebody read it, as far as the server tells.
SELECT
    s.plugin::text AS plugin,
    coalesce(s.database::text, '') AS database,
    s.active AS active,
    coalesce(
        to_json(s)->>'invalidation_reason', CASE WHEN s.wal_status = 'lost' THEN 'wal_removed' END, ''
    ) AS invalid,
    coalesce(s.wal_status, '') AS wal_status,
    coalesce(pg_wal_lsn_diff(l.now, s.restart_lsn), 0)::bigint AS retained,
    coalesce(pg_wal_lsn_diff(l.now, s.confirmed_flush_lsn), 0)::bigint AS unread,
    extract(epoch FROM now() - (to_json(s)->>'inactive_since')::timestamptz)::double precision AS idle
FROM pg_replication_slots s
CROSS JOIN (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS now
) AS l
WHERE s.slot_name = %(slot)s

-- name: inspect_tables
-- Relations of the ERP's schema that a table name could mean, with what an installer must know of them. leaves: partitions
-- that hold rows, as their names in the schema; strange_leaves: those in other schemas.
SELECT
    c.relname::text AS name,
    c.relkind::text AS kind,
    pg_get_userbyid(c.relowner)::text AS owner,
    pg_has_role(c.relowner, 'USAGE') AS owned,
    c.relpersistence = 'u' AS unlogged,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key,
    c.relreplident::text AS identity,
    coalesce(
        (
            SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisreplident
        ),
        ''
    ) AS identity_index,
    ARRAY(
        SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid ORDER BY 1
    ) AS indexes,
    EXISTS (
        SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        WHERE p.pubname = %(publication)s AND r.prrelid = c.oid
    ) AS published,
    coalesce(
        (
            SELECT $table_flaws FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
            WHERE p.pubname = %(publication)s AND r.prrelid = c.oid
        ),
        '{}'
    ) AS flaws,
    ARRAY(
        SELECT leaf.relname::text FROM pg_partition_tree(c.oid) t JOIN pg_class leaf ON leaf.oid = t.relid
        WHERE c.relkind = 'p' AND t.isleaf AND leaf.relnamespace = c.relnamespace AND leaf.oid <> c.oid ORDER BY 1
    ) AS leaves,
    ARRAY(
        SELECT leaf.oid::regclass::text FROM pg_partition_tree(c.oid) t JOIN pg_class leaf ON leaf.oid = t.relid
        WHERE c.relkind = 'p' AND t.isleaf AND leaf.relnamespace <> c.relnamespace ORDER BY 1
    ) AS strange_leaves,
    ARRAY(
        SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attnum
    ) AS key,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    ) AS columns,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 's' ORDER BY a.attnum
    ) AS stored,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 'v' ORDER BY a.attnum
    ) AS virtual
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname

-- name: blockers
-- The oldest transaction that keeps a slot from being made: one that writes, or is prepared. Not the text of queries.
SELECT * FROM (
    SELECT
        'connection ' || a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
        extract(epoch FROM clock_timestamp() - a.xact_start)::double precision AS age,
        'SELECT pg_terminate_backend(' || a.pid || ')'
    FROM pg_stat_activity a
    WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
    UNION ALL
    SELECT
        'prepared transaction ' || quote_literal(x.gid), x.owner::text, '', 'prepared',
        extract(epoch FROM clock_timestamp() - x.prepared)::double precision,
        'ROLLBACK PREPARED ' || quote_literal(x.gid) || ' (or COMMIT PREPARED)'
    FROM pg_prepared_xacts x
) AS open
ORDER BY age DESC LIMIT 1
