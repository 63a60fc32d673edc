-- The tables of the ERP's schema that the connected role may read.
SELECT c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_any_column_privilege(c.oid, 'SELECT')
