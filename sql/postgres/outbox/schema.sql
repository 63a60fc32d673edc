-- What the outbox's tables are like in this database: for whoever helps.
SELECT table_name::text, column_name::text, data_type::text
FROM information_schema.columns
WHERE table_schema = 'cdc_outbox'
ORDER BY table_name, ordinal_position
