-- Tables under our names, with the comment that says whether they are ours.
SELECT `TABLE_NAME`, `TABLE_COMMENT` FROM information_schema.TABLES
WHERE `TABLE_SCHEMA` = DATABASE()
  AND `TABLE_NAME` IN ('cdc_journal', 'cdc_shape', 'cdc_installation', 'cdc_probe', 'cdc_marker')
