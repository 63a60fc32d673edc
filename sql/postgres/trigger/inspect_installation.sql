-- What the installation says of itself.
SELECT version, schema_name FROM cdc.cdc_installation
