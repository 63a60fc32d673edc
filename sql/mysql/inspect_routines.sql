-- The wait routine, with the comment that says which version it is: not every account may see the body.
SELECT `ROUTINE_NAME`, `ROUTINE_TYPE`, `ROUTINE_COMMENT` FROM information_schema.ROUTINES
WHERE `ROUTINE_SCHEMA` = DATABASE() AND `ROUTINE_NAME` = 'cdc_wait'
