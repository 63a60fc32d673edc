-- Our tables.

-- name: installation
-- Row 1: what was installed.  captures: JSON, table name to its secret columns.  A row 2 is there when only cascades are
-- journaled, for a consumer that reads everything else in the binlog.
-- tokens: how triggers learn their transaction (gtid, row-start, performance-schema, row).
CREATE TABLE `cdc_installation` (
  `id` TINYINT UNSIGNED NOT NULL,
  `version` INT UNSIGNED NOT NULL,
  `tokens` VARCHAR(32) NOT NULL,
  `captures` LONGTEXT NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'

-- name: shape
-- How the images of the journal are laid out.  A shape never changes: a table that changes gets a new one.
CREATE TABLE `cdc_shape` (
  `id` INT UNSIGNED NOT NULL,
  `table_name` VARCHAR(64) NOT NULL,
  `layout` LONGTEXT NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'

-- name: journal
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

-- name: marker
-- Which outbox has read the journal, and up to which of its batches (row 1; an empty outbox: none yet).  An outbox that
-- is another one, or older than that, lacks changes which are not in the journal any more.
CREATE TABLE `cdc_marker` (
  `id` TINYINT UNSIGNED NOT NULL,
  `outbox` VARCHAR(32) NOT NULL,
  `batch` BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'

-- name: marker_row
-- No outbox has read the journal yet.
INSERT INTO `cdc_marker` VALUES (1, '', 0)

-- name: probe
-- The table whose triggers, the same as those of captured tables, prove that changes are captured.  Always empty for others:
-- its rows and what is journaled of them are deleted by the transaction that wrote them.  id: the connection's number.
CREATE TABLE `cdc_probe` (
  `id` BIGINT UNSIGNED NOT NULL,
  `n` INT UNSIGNED NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'

-- name: probe_row_start
-- The probe (see above) for MariaDB without a binlog.  Its versions are numbered by transaction, as the journal's, and it
-- keeps the row below: a query of the past finds that row, for which the server opens mysql.transaction_registry.
CREATE TABLE `cdc_probe` (
  `id` BIGINT UNSIGNED NOT NULL,
  `n` INT UNSIGNED NOT NULL,
  `txn` BIGINT UNSIGNED GENERATED ALWAYS AS ROW START INVISIBLE,
  `txn_end` BIGINT UNSIGNED GENERATED ALWAYS AS ROW END INVISIBLE,
  PERIOD FOR SYSTEM_TIME (`txn`, `txn_end`),
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'
  WITH SYSTEM VERSIONING

-- name: probe_row
-- Before the probe has triggers.
INSERT INTO `cdc_probe` VALUES (0, 0)

-- name: journal_row_start
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
