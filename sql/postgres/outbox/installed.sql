-- Whether the schema is there, the version table in it, whether it holds anything else, and how the database writes text.
SELECT to_regnamespace('cdc_outbox') IS NOT NULL,
       to_regclass('cdc_outbox.migration') IS NOT NULL,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('cdc_outbox')),
       current_setting('server_encoding')
