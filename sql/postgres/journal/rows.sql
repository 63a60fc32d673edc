-- Journal rows, with a fingerprint of the captured tables as of the same snapshot: when it differs from the one of the
-- catalogue in memory, a column may have another type now. It is computed once, and not at all when there are no rows.
-- A time that no trigger writes, but somebody else may, becomes one that the driver can read.
SELECT
    xid, lsn, greatest('0001-01-02 00:00+00', least(at, '9999-12-30 00:00+00')), table_name, operation, secrets_changed, before, after,
    (SELECT coalesce(sum(c.xmin::text::bigint), 0)::bigint FROM pg_class c WHERE c.oid = ANY (%(tables)s::oid[]))
FROM cdc.cdc_journal
WHERE $condition
ORDER BY xid, lsn
LIMIT %(limit)s
