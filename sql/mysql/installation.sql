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
