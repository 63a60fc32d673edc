-- Columns of all base tables of the database, in order; generated ones included, since events should carry them.
SELECT t.`TABLE_NAME`, COALESCE(t.`ENGINE`, ''), c.`COLUMN_NAME`, LOWER(c.`DATA_TYPE`), c.`COLUMN_TYPE`,
  COALESCE(c.`CHARACTER_SET_NAME`, ''), c.`EXTRA`
FROM information_schema.TABLES AS t
JOIN information_schema.COLUMNS AS c ON c.`TABLE_SCHEMA` = t.`TABLE_SCHEMA` AND c.`TABLE_NAME` = t.`TABLE_NAME`
WHERE t.`TABLE_SCHEMA` = DATABASE() AND t.`TABLE_TYPE` = 'BASE TABLE'
ORDER BY t.`TABLE_NAME`, c.`ORDINAL_POSITION`
