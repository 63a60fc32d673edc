-- Transactions that wait in the journal.
SELECT DISTINCT xid::text FROM cdc.cdc_journal LIMIT %(limit)s
