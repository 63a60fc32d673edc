-- Primary key columns of all tables (or of the one that is named; else NULL), in key order.
SELECT `TABLE_NAME`, `COLUMN_NAME` FROM information_schema.STATISTICS
WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = COALESCE(%s, `TABLE_NAME`) AND `INDEX_NAME` = 'PRIMARY'
ORDER BY `TABLE_NAME`, `SEQ_IN_INDEX`
