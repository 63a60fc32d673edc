-- The table is not captured any more.
DELETE FROM cdc.cdc_capture WHERE table_name = $table;
