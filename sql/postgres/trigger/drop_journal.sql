-- Runs when no trigger is left. No CASCADE: somebody else's object in the schema stops it.
DROP TABLE cdc.cdc_journal, cdc.cdc_capture, cdc.cdc_installation;
DROP SCHEMA cdc;
