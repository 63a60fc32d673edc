-- What waits in the journal: rows, seconds since the oldest, gaps.
SELECT COUNT(*), COALESCE(TIMESTAMPDIFF(SECOND, MIN(`at`), UTC_TIMESTAMP(6)), 0), COALESCE(SUM(`gap`), 0)
FROM `cdc_journal`
