-- Columns of the database's tables (of one, where it is named; else NULL), in order; generated ones included, since events
-- should carry them.  Those of views come too: a join with TABLES, which leaves them out, takes MariaDB five times as long.
SELECT `TABLE_NAME`, `COLUMN_NAME`, LOWER(`DATA_TYPE`), `COLUMN_TYPE`, COALESCE(`CHARACTER_SET_NAME`, ''), `EXTRA`
FROM information_schema.COLUMNS
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = COALESCE(%s, `TABLE_NAME`)
ORDER BY `TABLE_NAME`, `ORDINAL_POSITION`
