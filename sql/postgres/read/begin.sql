-- Before a table of the ERP's account is read, in a transaction that can write nothing. Preparing the statement locks the
-- table without planning, which could run code of that account. Then: is the name still that of this table, was the table
-- altered, does it have anything that planning evaluates (exposed.sql), and is that such code (foreign.sql)?
BEGIN READ ONLY;$settings
PREPARE cdc_lock AS SELECT $columns FROM $table;
DEALLOCATE cdc_lock;
SELECT n.nspname::text, c.relname::text, c.relkind::text, c.xmin::text, $exposed, ($foreign)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = $oid
