-- Columns of these tables in order, with the type below any domain, whether we may read them, their place in the primary
-- key, whether their type is a plain one, which JSON shows as the database prints it, and whether it is not the server's own:
-- then its casts, operators and constraints may be anybody's, and only its text is read. Last, of the table: exposed.sql.
-- xmin changes with ALTER TABLE ... ADD COLUMN and ALTER TYPE: see journal/rows.sql.
WITH RECURSIVE domains (domain, type) AS (
    SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT d.domain, t.typbasetype FROM domains d JOIN pg_type t ON t.oid = d.type WHERE t.typtype = 'd'
)
SELECT
    c.relname::text,
    c.oid::bigint,
    c.xmin::text::bigint,
    a.attname::text,
    format_type(a.atttypid, a.atttypmod),
    format_type(base.oid, NULL),
    base.typname::text,
    base.typcategory::text,
    has_column_privilege(c.oid, a.attnum, 'SELECT'),
    array_position(i.indkey::int2[], a.attnum),
    a.atttypid::bigint,
    base.typcategory <> 'A' AND base.typtype <> 'c' AND base.typname <> 'hstore',
    base.typnamespace <> 'pg_catalog'::regnamespace,
    $exposed
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN domains d ON d.domain = a.atttypid AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = d.type AND t.typtype = 'd')
JOIN pg_type base ON base.oid = coalesce(d.type, a.atttypid)
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE n.nspname = %s AND c.relname = ANY (%s::text[]) AND c.relkind IN ('r', 'p')
ORDER BY c.relname, a.attnum
