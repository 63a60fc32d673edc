-- What begin.sql does, a prepared statement that reads the table, and the end, in one message. A statement that fails ends
-- it: where the table is not the one in memory cdc_check (check.sql) divides by zero, and the last one is not even planned.
BEGIN READ ONLY;
PREPARE cdc_lock AS SELECT FROM $table;
DEALLOCATE cdc_lock;
EXECUTE cdc_check (%(oid)s, %(name)s, %(version)s);
EXECUTE $prepared (%(values)s, %(limit)s);
ROLLBACK
