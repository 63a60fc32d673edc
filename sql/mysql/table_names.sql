-- The base tables that the connected account may see.
SELECT `TABLE_NAME` FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_TYPE` = 'BASE TABLE'
