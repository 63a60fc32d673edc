-- When each of these tables got the definition that it has: by ALTER TABLE, or as the table that RENAME put in its place.
SELECT `TABLE_NAME`, `CREATE_TIME` FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` IN %s ORDER BY `TABLE_NAME`
