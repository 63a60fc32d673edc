-- Which outbox has read the journal, and up to which of its batches (row 1; an empty outbox: none yet).  An outbox that
-- is another one, or older than that, lacks changes which are not in the journal any more.
CREATE TABLE `cdc_marker` (
  `id` TINYINT UNSIGNED NOT NULL,
  `outbox` VARCHAR(32) NOT NULL,
  `batch` BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'
