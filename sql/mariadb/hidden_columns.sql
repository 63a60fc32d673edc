-- Columns that MariaDB keeps for UNIQUE keys on long values, by table: its log has them, information_schema has not.
SELECT s.`TABLE_NAME`, COUNT(DISTINCT s.`INDEX_NAME`)
FROM information_schema.STATISTICS AS s
JOIN information_schema.TABLES AS t ON t.`TABLE_NAME` = s.`TABLE_NAME`
WHERE s.`TABLE_SCHEMA` = DATABASE() AND t.`TABLE_SCHEMA` = DATABASE() -- both: see mysql/queries.sql
  AND s.`NON_UNIQUE` = 0 AND s.`INDEX_TYPE` = 'HASH' AND t.`ENGINE` <> 'MEMORY'
GROUP BY s.`TABLE_NAME`
