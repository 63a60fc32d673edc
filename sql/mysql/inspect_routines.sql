-- The wait routine, and (when visible) its body.
SELECT `ROUTINE_NAME`, `ROUTINE_TYPE` FROM information_schema.ROUTINES
WHERE `ROUTINE_SCHEMA` = DATABASE() AND `ROUTINE_NAME` = 'cdc_wait'
