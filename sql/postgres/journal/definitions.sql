-- Which tables have triggers of ours that are enabled, and which captured tables there are: another one after a table was
-- swapped for another one by RENAME, or dropped and created again, and after somebody dropped or disabled a trigger, even if
-- it is there again, and after a partition was attached or detached.
SELECT
    c.relname::text,
    c.oid,
    array_agg(t.oid::text || '.' || t.xmin::text ORDER BY t.oid),
    ARRAY(SELECT p.relid::oid FROM pg_partition_tree(c.oid) AS p ORDER BY p.relid)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN cdc.cdc_installation i ON n.nspname = i.schema_name
LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname IN ('_cdc_row', '_cdc_update', '_cdc_truncate')
WHERE c.relname IN (SELECT table_name FROM cdc.cdc_capture)
GROUP BY c.relname, c.oid ORDER BY c.relname
