-- All rows of some transactions.
SELECT `id`, `txn`, `shape`, `op`, `gap`, `at`, `secrets`, `image_before`, `image_after`
FROM `cdc_journal` WHERE `txn` IN %s ORDER BY `txn`, `id`
