-- Of these tables, those whose changes are not (wholly) in the log: not published, or (they, or a partition of theirs) with
-- another replica identity than FULL.
SELECT c.relname::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(tables)s::text[]) AND c.relkind IN ('r', 'p')
    AND (
        NOT EXISTS (
            SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
            WHERE p.pubname = %(publication)s AND r.prrelid = c.oid
        )
        OR EXISTS (
            SELECT FROM pg_class leaf
            WHERE leaf.relkind = 'r' AND leaf.relreplident <> 'f'
                AND (leaf.oid = c.oid OR leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
        )
    )
ORDER BY 1
