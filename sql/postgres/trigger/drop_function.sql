-- CASCADE takes the table's triggers along; the owner of the function need not own the table.
DROP FUNCTION IF EXISTS cdc.$function() CASCADE;
