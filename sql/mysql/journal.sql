-- The journal: one row a captured change, written by the triggers, deleted by the consumer.
-- txn: the transaction, a number that no other one ever gets.  at: UTC.  op: 1 insert, 2 update, 3 delete.
-- gap: 1 when the trigger could not record the change (then without images).
-- secrets: indexes, comma-separated, of the shape's secret columns that changed.  Images: JSON arrays laid out by shape.
CREATE TABLE `cdc_journal` (
  `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  `txn` BIGINT UNSIGNED NOT NULL,
  `at` DATETIME(6) NOT NULL,
  `shape` INT UNSIGNED NOT NULL,
  `op` TINYINT UNSIGNED NOT NULL,
  `gap` TINYINT UNSIGNED NOT NULL DEFAULT 0,
  `secrets` TEXT NULL,
  `image_before` LONGTEXT NULL,
  `image_after` LONGTEXT NULL,
  PRIMARY KEY (`id`),
  KEY `cdc_journal_txn` (`txn`, `id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'
