-- Two accounts: one installs and removes publication and slot, the other runs all the time and reads.
-- Give them passwords with \password in psql. Run this as a superuser: only one may give the attribute REPLICATION (a
-- hosted server may want GRANT rds_replication TO … instead). The attribute lets an account read the whole log of every
-- table, secret columns too: cdc run takes those out before anything is stored, and nobody else should have the account.

-- 1. Before cdc install-slot, which runs as $installer: only owners of a table may publish it and set its replica identity.
CREATE ROLE $installer LOGIN REPLICATION;
GRANT CONNECT, CREATE ON DATABASE $database TO $installer;
$owners

-- 2. For cdc run, which runs as $consumer: rows that are looked up or read again.
CREATE ROLE $consumer LOGIN REPLICATION;
GRANT CONNECT ON DATABASE $database TO $consumer;
GRANT USAGE ON SCHEMA $schema TO $consumer;
$selects
