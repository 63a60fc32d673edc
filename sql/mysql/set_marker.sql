-- Note that this outbox has stored everything up to this batch.
UPDATE `cdc_marker` IGNORE INDEX FOR GROUP BY (PRIMARY) SET `outbox` = %s, `batch` = %s WHERE `id` = 1
