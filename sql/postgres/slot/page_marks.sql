-- What a snapshot shows, an end of the log behind every commit that it shows, and how far the log is on the disk by then:
-- with a page of a table (read/page.sql).
SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text
UNION ALL
SELECT 'flushed', pg_current_wal_flush_lsn()::text
