-- What this transaction left in the journal of the probe.
SELECT operation::text, xid::text FROM cdc.cdc_journal
WHERE xid = pg_current_xact_id() AND table_name = 'cdc_probe' ORDER BY lsn
