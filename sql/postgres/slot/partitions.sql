-- Partitions of these tables, at any depth, with the table that they belong to, and whether they hold rows.
SELECT part.relid::oid::bigint, c.relname::text, part.isleaf
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_partition_tree(c.oid) AS part
WHERE n.nspname = %s AND c.relname = ANY (%s::text[]) AND c.relkind = 'p' AND part.relid <> c.oid
