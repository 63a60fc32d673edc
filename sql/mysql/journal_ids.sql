-- The rows of some transactions, by primary key (read without locks), in parts.
SELECT `id` FROM `cdc_journal` WHERE `txn` IN %s ORDER BY `id` LIMIT %s
