-- The table whose triggers, the same as those of captured tables, prove that changes are captured.  Always empty for others:
-- its rows and what is journaled of them are deleted by the transaction that wrote them.  id: the connection's number.
CREATE TABLE `cdc_probe` (
  `id` BIGINT UNSIGNED NOT NULL,
  `n` INT UNSIGNED NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'
