-- Triggers of the table were lost for a while: the consumer reads the table again.
INSERT INTO cdc.cdc_journal (xid, lsn, at, table_name, operation)
VALUES (pg_current_xact_id(), pg_current_wal_insert_lsn(), clock_timestamp(), $table, 'G');
