-- Of these tables, what keeps changes out of the log's messages, in words (none: they are whole), and two texts: one
-- changes with the publication's options, one with the table's entry in it, also when these are put back.
SELECT
    c.relname::text,
    $publication_flaws || $table_flaws || array_remove(ARRAY[
        CASE WHEN r.oid IS NULL THEN 'it is not published' END,
        CASE
            WHEN EXISTS (
                SELECT FROM pg_class leaf
                WHERE leaf.relkind = 'r' AND leaf.relreplident <> 'f'
                    AND (leaf.oid = c.oid OR leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
            ) THEN 'its replica identity, or that of a partition, is not FULL'
        END
    ], NULL),
    concat_ws('.', p.oid, p.xmin),
    concat_ws('.', r.oid, r.xmin)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_publication p ON p.pubname = %(publication)s
LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(tables)s::text[]) AND c.relkind IN ('r', 'p')
ORDER BY 1
