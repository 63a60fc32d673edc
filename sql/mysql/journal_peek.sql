-- The first visible rows, one snapshot.
SELECT `id`, `txn`, `shape`, `op`, `gap`, `at`, `secrets`, `image_before`, `image_after`
FROM `cdc_journal` ORDER BY `id` LIMIT %s
