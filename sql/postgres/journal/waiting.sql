-- What waits in the journal: transactions among the first 10,000 changes, and seconds since the oldest of these.
SELECT
    count(DISTINCT oldest.xid),
    coalesce(extract(epoch FROM clock_timestamp() - min(oldest.at) FILTER (WHERE isfinite(oldest.at))), 0)::double precision
FROM (SELECT xid, at FROM cdc.cdc_journal ORDER BY xid, lsn LIMIT 10000) AS oldest
