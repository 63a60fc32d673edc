-- What a server receives from another one.

-- name: settings
-- The settings that decide what triggers and log show of it, and which of it arrives (MariaDB).
SHOW GLOBAL VARIABLES WHERE `Variable_name` IN ('read_only', 'super_read_only', 'log_slave_updates',
  'log_replica_updates', 'slave_run_triggers_for_rbr', 'replicate_do_db', 'replicate_ignore_db', 'replicate_do_table',
  'replicate_ignore_table', 'replicate_wild_do_table', 'replicate_wild_ignore_table')

-- name: mariadb_running
-- How many threads apply changes of other servers.  Any account may ask.
SHOW GLOBAL STATUS WHERE `Variable_name` = 'Slaves_running'

-- name: mysql_running
-- The channels on which changes of other servers are applied, for an account without REPLICATION CLIENT.
SELECT `CHANNEL_NAME` FROM `performance_schema`.`replication_applier_status` WHERE `SERVICE_STATE` = 'ON'
