-- Rows of transactions (a JSON array) that were read in the log.  Waits for those of them that are not quite committed, and
-- for no other: see journal_delete.sql.
DELETE j FROM JSON_TABLE(%s, '$[*]' COLUMNS (`txn` BIGINT UNSIGNED PATH '$')) AS wanted
STRAIGHT_JOIN `cdc_journal` AS j FORCE INDEX (`cdc_journal_txn`) ON j.`txn` = wanted.`txn`
