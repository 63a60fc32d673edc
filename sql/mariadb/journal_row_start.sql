-- The journal (see mysql/journal.sql) for MariaDB without a binlog, where nothing cheap tells a trigger its transaction:
-- the table is system-versioned by transaction id, so InnoDB itself fills txn.  Deleted rows become history, which the
-- consumer removes with DELETE HISTORY (the key on txn_end lets that find them without reading live rows).
CREATE TABLE `cdc_journal` (
  `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  `txn` BIGINT UNSIGNED GENERATED ALWAYS AS ROW START INVISIBLE,
  `txn_end` BIGINT UNSIGNED GENERATED ALWAYS AS ROW END INVISIBLE,
  `at` DATETIME(6) NOT NULL,
  `shape` INT UNSIGNED NOT NULL,
  `op` TINYINT UNSIGNED NOT NULL,
  `gap` TINYINT UNSIGNED NOT NULL DEFAULT 0,
  `secrets` TEXT NULL,
  `image_before` LONGTEXT NULL,
  `image_after` LONGTEXT NULL,
  PERIOD FOR SYSTEM_TIME (`txn`, `txn_end`),
  PRIMARY KEY (`id`),
  KEY `cdc_journal_txn` (`txn`, `id`),
  KEY `cdc_journal_history` (`txn_end`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'
  WITH SYSTEM VERSIONING
