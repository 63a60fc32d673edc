-- Reads nothing; but until the transaction ends, nobody alters the table.  Refused to who may not read every column.
SELECT * FROM $table USE INDEX () LIMIT 0
