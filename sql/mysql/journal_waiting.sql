-- What waits in the journal: transactions among the first 10,000 changes, and seconds since the oldest of these.
SELECT COUNT(DISTINCT `oldest`.`txn`), COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(`oldest`.`at`), UTC_TIMESTAMP(6)), 0) / 1000000
FROM (SELECT `txn`, `at` FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) ORDER BY `id` LIMIT 10000) AS `oldest`
