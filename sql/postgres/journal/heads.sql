-- Transactions in the order of the latest moment at which one of their triggers ran; read from the index alone.
SELECT xid, min(lsn), count(*)
FROM cdc.cdc_journal
WHERE xid >= %(floor)s::xid8
GROUP BY xid
ORDER BY max(lsn)
LIMIT %(limit)s
