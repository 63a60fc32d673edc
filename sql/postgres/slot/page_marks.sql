-- What a snapshot shows, and an end of the log behind every commit that it shows: with a page of a table (read/page.sql).
SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text
