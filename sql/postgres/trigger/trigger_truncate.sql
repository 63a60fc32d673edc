-- TRUNCATE fires no row trigger: one row without images stands for the whole table.
CREATE TRIGGER _cdc_truncate AFTER TRUNCATE ON $table
FOR EACH STATEMENT EXECUTE FUNCTION cdc.$function();
