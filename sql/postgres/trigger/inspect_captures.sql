-- Captures as installed.
SELECT table_name, secrets FROM cdc.cdc_capture ORDER BY table_name
