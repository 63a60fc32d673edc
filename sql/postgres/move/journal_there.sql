-- Whether there is a journal, and the newest transaction's number in full.
SELECT to_regclass('cdc.cdc_journal') IS NOT NULL, pg_snapshot_xmax(pg_current_snapshot())::text
