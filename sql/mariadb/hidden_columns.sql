-- Columns that MariaDB keeps for UNIQUE keys on long values, by table: its log has them, information_schema has not.
-- MEMORY tables have such keys without such columns.
SELECT `TABLE_NAME`, COUNT(DISTINCT `INDEX_NAME`)
FROM information_schema.STATISTICS
WHERE `TABLE_SCHEMA` = DATABASE() AND `NON_UNIQUE` = 0 AND `INDEX_TYPE` = 'HASH'
GROUP BY `TABLE_NAME`
