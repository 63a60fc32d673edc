-- Journal rows, with a fingerprint of the captured tables as of the same snapshot: when it differs from the one of the
-- catalogue in memory, a column may have another type now. It is computed once, and not at all when there are no rows.
SELECT
    xid, lsn, at, table_name, operation, secrets_changed, before, after,
    (SELECT coalesce(sum(c.xmin::text::bigint), 0)::bigint FROM pg_class c WHERE c.oid = ANY (%(tables)s::oid[]))
FROM cdc.cdc_journal
WHERE $condition
ORDER BY xid, lsn
LIMIT %(limit)s
