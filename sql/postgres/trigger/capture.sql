-- Remember what was installed: repairs and the consumer go by it.
INSERT INTO cdc.cdc_capture (table_name, secrets) VALUES ($table, $secrets)
ON CONFLICT (table_name) DO UPDATE SET secrets = EXCLUDED.secrets;
