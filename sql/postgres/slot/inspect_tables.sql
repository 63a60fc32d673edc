-- Relations of the ERP's schema that a table name could mean, with what an installer must know of them. leaves: partitions
-- that hold rows, as their names in the schema; strange_leaves: those in other schemas.
SELECT
    c.relname::text AS name,
    c.relkind::text AS kind,
    pg_get_userbyid(c.relowner)::text AS owner,
    pg_has_role(c.relowner, 'USAGE') AS owned,
    c.relpersistence = 'u' AS unlogged,
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key,
    c.relreplident::text AS identity,
    coalesce(
        (
            SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisreplident
        ),
        ''
    ) AS identity_index,
    ARRAY(
        SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid ORDER BY 1
    ) AS indexes,
    EXISTS (
        SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        WHERE p.pubname = %(publication)s AND r.prrelid = c.oid
    ) AS published,
    ARRAY(
        SELECT leaf.relname::text FROM pg_partition_tree(c.oid) t JOIN pg_class leaf ON leaf.oid = t.relid
        WHERE c.relkind = 'p' AND t.isleaf AND leaf.relnamespace = c.relnamespace AND leaf.oid <> c.oid ORDER BY 1
    ) AS leaves,
    ARRAY(
        SELECT leaf.oid::regclass::text FROM pg_partition_tree(c.oid) t JOIN pg_class leaf ON leaf.oid = t.relid
        WHERE c.relkind = 'p' AND t.isleaf AND leaf.relnamespace <> c.relnamespace ORDER BY 1
    ) AS strange_leaves,
    ARRAY(
        SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attnum
    ) AS key,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    ) AS columns,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 's' ORDER BY a.attnum
    ) AS stored,
    ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = 'v' ORDER BY a.attnum
    ) AS virtual
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname
