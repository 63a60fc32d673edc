-- The settings that decide what is in the log, and for how long.
SHOW GLOBAL VARIABLES WHERE `Variable_name` IN ('log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata',
  'binlog_row_value_options', 'binlog_transaction_compression', 'binlog_expire_logs_seconds',
  'init_connect', 'binlog_expire_logs_auto_purge', 'expire_logs_days', 'max_binlog_total_size', 'innodb_native_foreign_keys')
