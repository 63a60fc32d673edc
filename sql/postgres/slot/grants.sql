$heading
-- Only a superuser may give the attribute REPLICATION; a hosted server may want GRANT rds_replication TO … instead.
-- It holds for the whole server: these accounts may read the log of ALL its databases, secret columns too.
-- They may also drop the slots of others. Where tenants share the server, use triggers, or a server for each.
-- cdc run takes secret columns out before anything is stored.

-- 1. Before cdc install-slot, which runs as $installer: only owners of a table may publish it and set its replica identity.
$create_installer
$create_consumer
GRANT CONNECT, CREATE ON DATABASE $database TO $installer;
$owners

-- 2. For cdc run, which runs as $consumer: rows that are looked up or read again.
GRANT CONNECT ON DATABASE $database TO $consumer;
GRANT USAGE ON SCHEMA $schema TO $consumer;
$selects
$connects
