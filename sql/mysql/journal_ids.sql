-- The rows of some transactions, by primary key (read without locks), in parts.
SELECT `id` FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) WHERE `txn` IN %s ORDER BY `id` LIMIT %s
