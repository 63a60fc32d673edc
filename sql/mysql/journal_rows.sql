-- Rows of the journal.  What is short comes as one column: the driver needs longer for seven of them than the server for
-- putting these together.  `secrets` is the last one because CONCAT_WS leaves out what is NULL.
SELECT CONCAT_WS('|', `id`, `txn`, `shape`, `op`, `gap`, `at`, `secrets`), `image_before`, `image_after`
FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) $which
