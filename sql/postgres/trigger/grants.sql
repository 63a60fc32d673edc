$heading

-- 1. Before cdc install-triggers, which runs as $installer:
$create_installer
$create_consumer
GRANT CONNECT, CREATE ON DATABASE $database TO $installer;
GRANT USAGE ON SCHEMA $schema TO $installer;
GRANT TRIGGER ON
    $tables
TO $installer;

-- 2. After it, for cdc run, which runs as $consumer:
GRANT CONNECT ON DATABASE $database TO $consumer;
GRANT USAGE ON SCHEMA cdc, $schema TO $consumer;
GRANT SELECT ON cdc.cdc_installation, cdc.cdc_capture TO $consumer;
GRANT SELECT, DELETE ON cdc.cdc_journal TO $consumer;
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc.cdc_probe TO $consumer;
GRANT SELECT, UPDATE ON cdc.cdc_marker TO $consumer;
$selects
$connects
