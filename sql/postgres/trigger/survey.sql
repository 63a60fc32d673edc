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
