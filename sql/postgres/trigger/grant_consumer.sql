-- What the consumer needs of a journal that was created again.
GRANT USAGE ON SCHEMA cdc TO $consumer;
GRANT SELECT ON cdc.cdc_installation, cdc.cdc_capture TO $consumer;
GRANT SELECT, DELETE ON cdc.cdc_journal TO $consumer;
GRANT SELECT, UPDATE ON cdc.cdc_marker TO $consumer;
