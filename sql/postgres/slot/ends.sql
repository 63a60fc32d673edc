-- Where the log that is safe on disk ends, and how far the slot's reader has confirmed.
SELECT pg_current_wal_flush_lsn()::text, (SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s)
