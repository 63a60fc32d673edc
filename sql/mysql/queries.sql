-- What an installer asks.  Each table of information_schema is narrowed by a constant on its own schema column (triggers:
-- of their table); where it is compared with another table, MariaDB opens the tables of all databases of the server.  No
-- subquery for each row of another one, either: MariaDB opens all tables of the database for each.

-- name: inspect_tables
-- Base tables of the database (or the one that is named; else NULL), with their engines.
SELECT `TABLE_NAME`, COALESCE(`ENGINE`, '') FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_TYPE` = 'BASE TABLE' AND `TABLE_NAME` = COALESCE(%s, `TABLE_NAME`)
ORDER BY `TABLE_NAME`

-- name: inspect_columns
-- Columns of the database's tables (of one, where it is named; else NULL), in order; generated ones included, since events
-- should carry them.  Those of views come too: a join with TABLES, which leaves them out, takes MariaDB five times as long.
SELECT `TABLE_NAME`, `COLUMN_NAME`, LOWER(`DATA_TYPE`), `COLUMN_TYPE`, COALESCE(`CHARACTER_SET_NAME`, ''), `EXTRA`,
  COALESCE(`COLLATION_NAME`, '')
FROM information_schema.COLUMNS
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = COALESCE(%s, `TABLE_NAME`)
ORDER BY `TABLE_NAME`, `ORDINAL_POSITION`

-- name: inspect_keys
-- Primary key columns of all tables (or of the one that is named; else NULL), in key order.
SELECT `TABLE_NAME`, `COLUMN_NAME` FROM information_schema.STATISTICS
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = COALESCE(%s, `TABLE_NAME`) AND `INDEX_NAME` = 'PRIMARY'
ORDER BY `TABLE_NAME`, `SEQ_IN_INDEX`

-- name: inspect_foreign_keys
-- Columns of foreign keys within the database.
SELECT `TABLE_NAME`, `CONSTRAINT_NAME`, `COLUMN_NAME`, `REFERENCED_TABLE_NAME`, `REFERENCED_COLUMN_NAME`
FROM information_schema.KEY_COLUMN_USAGE
WHERE `TABLE_SCHEMA` = DATABASE() AND `REFERENCED_TABLE_SCHEMA` = DATABASE()
ORDER BY `TABLE_NAME`, `CONSTRAINT_NAME`, `ORDINAL_POSITION`

-- name: inspect_key_rules
-- What foreign keys do.  Not joined with their columns: MariaDB compares each row of one with each of the other.
SELECT `TABLE_NAME`, `CONSTRAINT_NAME`, `DELETE_RULE`, `UPDATE_RULE`
FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE `CONSTRAINT_SCHEMA` = DATABASE()

-- name: inspect_triggers
-- All triggers of the database and when they were created, in the time zone of the session: replication and
-- ALTER TABLE keep that time.
SELECT `TRIGGER_NAME`, `EVENT_OBJECT_TABLE`, `ACTION_TIMING`, `EVENT_MANIPULATION`, `ACTION_STATEMENT`, `DEFINER`,
  COALESCE(DATE_FORMAT(`CREATED`, '%Y-%m-%d %H:%i:%s.%f'), '')
FROM information_schema.TRIGGERS WHERE `EVENT_OBJECT_SCHEMA` = DATABASE() ORDER BY `EVENT_OBJECT_TABLE`, `TRIGGER_NAME`

-- name: record_made
-- Record when a table's triggers (those with these names) were created.
INSERT INTO `cdc_installation`
SELECT $row, $version, 'triggers made', JSON_OBJECTAGG(`TRIGGER_NAME`, DATE_FORMAT(`CREATED`, '%Y-%m-%d %H:%i:%s.%f'))
FROM information_schema.TRIGGERS
WHERE `EVENT_OBJECT_SCHEMA` = DATABASE() AND `EVENT_OBJECT_TABLE` = $table AND `TRIGGER_NAME` IN ($names)
ON DUPLICATE KEY UPDATE `captures` = JSON_MERGE_PATCH(`captures`, VALUES(`captures`))

-- name: inspect_own_tables
-- Tables under our names, with the comment that says whether they are ours.
SELECT `TABLE_NAME`, `TABLE_COMMENT` FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE()
  AND `TABLE_NAME` IN ('cdc_journal', 'cdc_shape', 'cdc_installation', 'cdc_probe', 'cdc_marker')

-- name: inspect_versioned_probe
-- 1 when the probe is the one for MariaDB without a binlog.
SELECT COUNT(*) FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = 'cdc_probe' AND `TABLE_TYPE` = 'SYSTEM VERSIONED'

-- name: inspect_routines
-- The procedure that earlier versions called.
SELECT `ROUTINE_NAME` FROM information_schema.ROUTINES
WHERE `ROUTINE_SCHEMA` = DATABASE() AND `ROUTINE_NAME` = 'cdc_wait' AND `ROUTINE_TYPE` = 'PROCEDURE'

-- name: inspect_instrumentation
-- Whether the performance schema shows the transaction of this session, as the triggers look for it: run in a transaction.
SELECT COUNT(*) FROM performance_schema.events_transactions_current
WHERE `THREAD_ID` = PS_CURRENT_THREAD_ID() AND `STATE` = 'ACTIVE'

-- name: definer_exists
-- Whether an account exists (a role too, on MariaDB).
SELECT COUNT(*) FROM mysql.user WHERE `User` = %s AND `Host` = %s

-- name: account_hosts
-- From where an account may connect.
SELECT `Host` FROM mysql.user WHERE `User` = %s ORDER BY `Host`

-- name: visible_tables
-- Tables of these databases that the account may do something with: the server shows no others.
SELECT `TABLE_SCHEMA`, `TABLE_NAME` FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` IN %s AND `TABLE_TYPE` IN ('BASE TABLE', 'SYSTEM VERSIONED')
ORDER BY `TABLE_SCHEMA`, `TABLE_NAME`

-- name: estimated_rows
-- How many rows each base table of the database has, about.
SELECT `TABLE_NAME`, COALESCE(`TABLE_ROWS`, 0)
FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_TYPE` = 'BASE TABLE'

-- name: backlog
-- What waits in the journal, counted up to a limit: rows, seconds since the oldest, gaps; and the bytes of disk that the
-- journal takes, as the server knows them now.
SELECT COUNT(*), COALESCE(TIMESTAMPDIFF(SECOND, MIN(`at`), UTC_TIMESTAMP(6)), 0), COALESCE(SUM(`gap`), 0),
  (SELECT COALESCE(SUM(`DATA_LENGTH` + `INDEX_LENGTH`), 0) FROM information_schema.TABLES
    WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = 'cdc_journal')
FROM (SELECT `at`, `gap` FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) ORDER BY `id` LIMIT 100001) AS `waiting`

-- name: may_read
-- Reads nothing.  Refused to an account that may read no column of the table.
SELECT 1 FROM $table USE INDEX () LIMIT 0

-- name: blockers_mysql
-- Connections that hold a metadata lock on a table, those with the longest open transaction first.
SELECT t.`PROCESSLIST_ID`, t.`PROCESSLIST_USER`, COALESCE(t.`PROCESSLIST_HOST`, ''), COALESCE(t.`PROCESSLIST_TIME`, 0)
FROM performance_schema.metadata_locks AS l
JOIN performance_schema.threads AS t ON t.`THREAD_ID` = l.`OWNER_THREAD_ID`
WHERE l.`OBJECT_TYPE` = 'TABLE' AND l.`OBJECT_SCHEMA` = DATABASE() AND l.`OBJECT_NAME` = %s
  AND l.`LOCK_STATUS` = 'GRANTED' AND t.`PROCESSLIST_ID` <> CONNECTION_ID()
ORDER BY t.`PROCESSLIST_TIME` DESC

-- name: blockers_mariadb
-- MariaDB tells who holds a metadata lock only through a plugin; this names the likely ones: connections with an open InnoDB
-- transaction, the oldest first, those in this database before others.
SELECT p.`ID`, p.`USER`, p.`HOST`, p.`TIME`
FROM information_schema.INNODB_TRX AS x
JOIN information_schema.PROCESSLIST AS p ON p.`ID` = x.`trx_mysql_thread_id`
WHERE p.`ID` <> CONNECTION_ID()
ORDER BY p.`DB` <=> DATABASE() DESC, x.`trx_started`

-- name: settings
-- FacturaScripts' own settings: JSON objects by the name of their group.
SELECT `name`, `properties` FROM `settings` IGNORE INDEX FOR GROUP BY (PRIMARY)
