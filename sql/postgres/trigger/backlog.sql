-- How much waits in the journal (counted up to a limit), since when, the disk that it takes, and whether a consumer holds
-- its lock.
SELECT
    (SELECT count(*) FROM (SELECT FROM cdc.cdc_journal LIMIT 100001) AS waiting),
    (SELECT extract(epoch FROM clock_timestamp() - at)::double precision FROM cdc.cdc_journal WHERE isfinite(at) ORDER BY xid, lsn LIMIT 1),
    pg_total_relation_size('cdc.cdc_journal'),
    EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = %(lock_class)s AND objid = %(lock_consumer)s AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
