-- When the journal got its definition: UTC, as the times in it.  For MariaDB.
SET STATEMENT time_zone = '+00:00' FOR SELECT `CREATE_TIME` FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = 'cdc_journal'
