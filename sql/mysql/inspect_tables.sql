-- Base tables of the database (or the one that is named; else NULL), with their engines.
SELECT `TABLE_NAME`, COALESCE(`ENGINE`, '') FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_TYPE` = 'BASE TABLE' AND `TABLE_NAME` = COALESCE(%s, `TABLE_NAME`)
ORDER BY `TABLE_NAME`
