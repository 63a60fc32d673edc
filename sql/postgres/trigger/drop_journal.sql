-- Runs when no trigger is left. No CASCADE: somebody else's object in the schema stops it.
DROP TABLE IF EXISTS cdc.cdc_probe;
DROP FUNCTION IF EXISTS cdc.cdc_probe();
DROP TABLE IF EXISTS cdc.cdc_marker;
DROP TABLE IF EXISTS cdc.cdc_journal, cdc.cdc_capture, cdc.cdc_installation;
DROP SCHEMA cdc;
