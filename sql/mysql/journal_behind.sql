-- The next rows of one transaction.
SELECT `id`, `txn`, `shape`, `op`, `gap`, `at`, `secrets`, `image_before`, `image_after`
FROM `cdc_journal` WHERE `txn` = %s AND `id` > %s ORDER BY `id` LIMIT %s
