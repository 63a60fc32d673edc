-- How the images of the journal are laid out.  A shape never changes: a table that changes gets a new one.
CREATE TABLE `cdc_shape` (
  `id` INT UNSIGNED NOT NULL,
  `table_name` VARCHAR(64) NOT NULL,
  `layout` LONGTEXT NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'facturascripts-cdc'
