-- The server, this session, the first schema of the account that has tables, and whether the names that we need are ours,
-- free or taken.
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
    n.oid IS NOT NULL AS schema_exists,
    coalesce(pg_has_role(n.nspowner, 'USAGE'), false) AS schema_owned,
    coalesce(obj_description(n.oid, 'pg_namespace') LIKE 'facturascripts-cdc:%', false) AS schema_ours,
    (
        SELECT coalesce(array_agg(c.relname::text), '{}') FROM pg_class c
        WHERE c.relnamespace = n.oid AND c.relname IN ('cdc_installation', 'cdc_capture', 'cdc_journal')
    ) AS present,
    EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'cdc_marker') AS marker_exists,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS schema_usable,
    (
        SELECT coalesce(array_agg(s.nspname || '.' || c.relname ORDER BY 1), '{}')
        FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
        WHERE c.relname IN ('cdc_installation', 'cdc_capture', 'cdc_journal', 'cdc_marker') AND s.nspname <> 'cdc'
    ) AS namesakes
FROM (SELECT 1) AS always LEFT JOIN pg_namespace n ON n.nspname = 'cdc'
