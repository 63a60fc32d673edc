-- What each installer asks of the server and this session.  schema: the one that has the ERP's tables, the first of the
-- account's search path with a table.
    current_setting('server_version_num')::integer AS version,
    pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') = 'on' AS read_only,
    current_user::text AS role,
    current_database()::text AS database,
    coalesce((
        SELECT s.name
        FROM unnest(current_setting('cdc.schemas')::text[]) WITH ORDINALITY AS s (name, place)
        ORDER BY EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = s.name AND c.relkind IN ('r', 'p')
        ) DESC, s.place
        LIMIT 1
    ), '') AS schema,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
