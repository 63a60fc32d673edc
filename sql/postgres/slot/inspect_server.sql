-- The server, this session, the first schema of the account that has tables, and whether the names that we need are ours,
-- free or taken. What not all versions have is read through JSON.
SELECT
    current_setting('server_version_num')::integer AS version,
    pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') = 'on' AS read_only,
    current_user::text AS role,
    current_database()::text AS database,
    coalesce((
        $erp_schema
    ), '') AS schema,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    EXISTS (
        SELECT FROM pg_roles r
        WHERE (r.rolname = current_user AND (r.rolreplication OR r.rolsuper))
            OR (r.rolname = 'rds_replication' AND pg_has_role(r.oid, 'USAGE'))
    ) AS may_replicate,
    current_setting('wal_level') AS wal_level,
    current_setting('max_replication_slots')::integer - (SELECT count(*) FROM pg_replication_slots)::integer AS free_slots,
    current_setting('max_wal_senders')::integer AS senders,
    current_setting('max_slot_wal_keep_size') AS keep_size,
    p.oid IS NOT NULL AS published,
    coalesce(pg_has_role(p.pubowner, 'USAGE'), false) AS publication_owned,
    obj_description(p.oid, 'pg_publication') AS comment,
    coalesce(
        NOT p.puballtables AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot
            AND coalesce(to_json(p)->>'pubgencols', 's') = 's',
        false
    ) AS publishes_all,
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = %(lock_class)s AND objid = %(lock_consumer)s AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS consumer
FROM (SELECT 1) AS always LEFT JOIN pg_publication p ON p.pubname = %(publication)s
