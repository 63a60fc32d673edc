-- MySQL without the right to read its performance schema, if the DBA accepts it: each row is a transaction of its own.
SET @cdc_txn = UUID_SHORT();
