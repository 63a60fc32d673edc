-- What waits in the journal, counted up to a limit: rows, seconds since the oldest, gaps; and the bytes of disk that the
-- journal takes, as the server knows them now.
SELECT COUNT(*), COALESCE(TIMESTAMPDIFF(SECOND, MIN(`at`), UTC_TIMESTAMP(6)), 0), COALESCE(SUM(`gap`), 0),
  (SELECT COALESCE(SUM(`DATA_LENGTH` + `INDEX_LENGTH`), 0) FROM information_schema.TABLES
    WHERE `TABLE_SCHEMA` = DATABASE() AND `TABLE_NAME` = 'cdc_journal')
FROM (SELECT `at`, `gap` FROM `cdc_journal` ORDER BY `id` LIMIT 100001) AS `waiting`
