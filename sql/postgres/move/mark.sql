-- The log's end, whose log it is, and the transactions that are open at a moment behind: one of them may have written
-- its commit before that end already, and be seen only in a moment.
WITH now AS MATERIALIZED (SELECT pg_current_wal_insert_lsn()::text AS lsn)
SELECT now.lsn,
    (SELECT system_identifier::text FROM pg_control_system()),
    (SELECT coalesce(array_agg(xid::text), '{}') FROM pg_snapshot_xip(pg_current_snapshot()) AS xid)
FROM now
