-- Some rows of one transaction.
SELECT `id`, `txn`, `shape`, `op`, `gap`, `at`, `secrets`, `image_before`, `image_after`
FROM `cdc_journal` WHERE `id` IN %s AND `txn` = %s ORDER BY `id`
