-- The base tables of the database: how many rows each has, about, its engine, and whether it has a primary key.
SELECT t.`TABLE_NAME`, COALESCE(t.`TABLE_ROWS`, 0), COALESCE(t.`ENGINE`, ''),
  EXISTS (
    SELECT 1 FROM information_schema.STATISTICS AS s
    WHERE s.`TABLE_SCHEMA` = t.`TABLE_SCHEMA` AND s.`TABLE_NAME` = t.`TABLE_NAME` AND s.`INDEX_NAME` = 'PRIMARY'
  )
FROM information_schema.TABLES AS t
WHERE t.`TABLE_SCHEMA` = DATABASE() AND t.`TABLE_TYPE` = 'BASE TABLE'
ORDER BY t.`TABLE_NAME`
