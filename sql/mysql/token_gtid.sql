-- MariaDB with a binlog: @@last_gtid is the same all through a transaction and new after it.  A session that does not write
-- the binlog gets a token for each row: finer than its transactions, never coarser.
SET @cdc_txn = IF(@@sql_log_bin AND @@log_bin AND @cdc_mark <=> CAST(@@last_gtid AS BINARY), @cdc_txn, UUID_SHORT()),
  @cdc_mark = IF(@@sql_log_bin AND @@log_bin, CAST(@@last_gtid AS BINARY), NULL);
