-- The settings that decide what is in the log, for how long, and whether a replica may ask for it.
SHOW GLOBAL VARIABLES WHERE `Variable_name` IN ('log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata',
  'binlog_row_value_options', 'binlog_expire_logs_seconds', 'expire_logs_days', 'gtid_mode', 'server_id',
  'lower_case_table_names', 'enable_cascade_triggers', 'innodb_native_foreign_keys', 'max_binlog_total_size', 'sync_binlog')
