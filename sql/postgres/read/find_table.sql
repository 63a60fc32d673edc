-- The schema of a table that this account may read: the one that the account's search path finds first.
SELECT n.nspname::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %s AND c.relkind IN ('r', 'p') AND has_schema_privilege(n.oid, 'USAGE')
    AND has_any_column_privilege(c.oid, 'SELECT') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY array_position(current_setting('cdc.schemas')::text[], n.nspname::text) NULLS LAST, n.nspname
LIMIT 1
