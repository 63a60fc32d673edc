-- Is there a journal, of which version, and which schema has the tables?
SELECT version, schema_name FROM cdc.cdc_installation
