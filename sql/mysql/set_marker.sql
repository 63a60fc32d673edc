-- Note that this outbox has stored everything up to this batch.
UPDATE `cdc_marker` SET `outbox` = %s, `batch` = %s WHERE `id` = 1
