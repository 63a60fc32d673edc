-- Reads nothing.  Refused to an account that may read no column of the table.
SELECT 1 FROM $table LIMIT 0
