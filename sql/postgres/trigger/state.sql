-- The identity of captured table i, of its triggers and of its partitions. Another one after triggers were switched off, even
-- if they are on again, after the table was created again, as a restored dump does it, and after rows came or went with a
-- partition: none of that is in the journal.
SELECT c.oid::text || coalesce(string_agg(' ' || t.oid::text || '.' || t.xmin::text, '' ORDER BY t.oid), '') || coalesce(
    (SELECT string_agg(' ' || p.relid::oid::text, '' ORDER BY p.relid) FROM pg_catalog.pg_partition_tree(c.oid) AS p), ''
)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND t.tgname IN ('_cdc_row', '_cdc_update', '_cdc_truncate')
WHERE n.nspname = (SELECT schema_name FROM cdc.cdc_installation) AND c.relname = i.table_name
GROUP BY c.oid
