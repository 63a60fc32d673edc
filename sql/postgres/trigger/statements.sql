-- What an installer of triggers runs, except the journal and the trigger functions.

-- name: drop_journal
-- Runs when no trigger is left. No CASCADE: somebody else's object in the schema stops it.
DROP TABLE IF EXISTS cdc.cdc_probe;
DROP FUNCTION IF EXISTS cdc.cdc_probe();
DROP FUNCTION IF EXISTS cdc.cdc_append;
DROP TABLE IF EXISTS cdc.cdc_marker;
DROP TABLE IF EXISTS cdc.cdc_journal, cdc.cdc_capture, cdc.cdc_installation;
DROP SCHEMA cdc;

-- name: marker
-- Which outbox has read the journal, and up to which of its batches (an empty outbox: none yet). An outbox that is
-- another one, or older than that, lacks changes which are not in the journal any more.
CREATE TABLE cdc.cdc_marker (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    outbox text NOT NULL DEFAULT '',
    batch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO cdc.cdc_marker DEFAULT VALUES;

-- name: probe
-- The table whose triggers, the same as those of captured tables, prove that changes are captured. Always empty for others:
-- its rows and what is journaled of them are rolled back. id: the connection's process.
DROP TABLE IF EXISTS cdc.cdc_probe;
CREATE TABLE cdc.cdc_probe (
    id integer PRIMARY KEY,
    n integer NOT NULL
);

-- name: trigger_row
-- The names sort behind PostgreSQL's own foreign key triggers and before those of plugins, which run in name order: a
-- plugin's trigger that writes the same row again is journaled after the write that set it off.
CREATE TRIGGER _cdc_row AFTER INSERT OR DELETE ON $table
FOR EACH ROW EXECUTE FUNCTION cdc.$function();

-- name: trigger_update
-- Without a WHEN that compares the rows: the server reads its text again for each statement. The function compares them.
CREATE TRIGGER _cdc_update AFTER UPDATE ON $table
FOR EACH ROW EXECUTE FUNCTION cdc.$function();

-- name: trigger_truncate
-- TRUNCATE fires no row trigger: one row without images stands for the whole table.
CREATE TRIGGER _cdc_truncate AFTER TRUNCATE ON $table
FOR EACH STATEMENT EXECUTE FUNCTION cdc.$function();

-- name: revoke_function
-- Nobody else may hang this function on a table of theirs and so write into the journal.
REVOKE ALL ON FUNCTION cdc.$function() FROM PUBLIC;

-- name: drop_function
-- CASCADE takes the table's triggers along; the owner of the function need not own the table.
DROP FUNCTION IF EXISTS cdc.$function() CASCADE;

-- name: capture
-- Remember what was installed: repairs and the consumer go by it.
INSERT INTO cdc.cdc_capture (table_name, secrets) VALUES ($table, $secrets)
ON CONFLICT (table_name) DO UPDATE SET secrets = EXCLUDED.secrets;
UPDATE cdc.cdc_capture AS i SET state = ($state) WHERE i.table_name = $table;

-- name: states
-- An installation of an earlier version did not remember which triggers it made.
ALTER TABLE cdc.cdc_capture ADD COLUMN state text;
UPDATE cdc.cdc_capture AS i SET state = ($state);

-- name: forget_capture
-- The table is not captured any more.
DELETE FROM cdc.cdc_capture WHERE table_name = $table;

-- name: gap
-- Triggers of the table were lost for a while: the consumer reads the table again.
INSERT INTO cdc.cdc_journal (xid, lsn, at, table_name, operation)
VALUES (pg_current_xact_id(), pg_current_wal_insert_lsn(), clock_timestamp(), $table, 'G');

-- name: grant_owner
-- The table's owner may read what is in our schema, or a pg_dump under that account would fail. It holds no secrets.
GRANT USAGE ON SCHEMA cdc TO $owner;
GRANT SELECT ON ALL TABLES IN SCHEMA cdc TO $owner;

-- name: grant_partitions
-- The account that creates or attaches a partition needs this privilege, since the triggers are made on it, too. On a table of their
-- own the function records nothing: cdc_append sees that they did not write to this one.
GRANT EXECUTE ON FUNCTION cdc.$function() TO PUBLIC;

-- name: grant_consumer
-- What the consumer needs of a journal that was created again.
GRANT USAGE ON SCHEMA cdc TO $consumer;
GRANT SELECT ON cdc.cdc_installation, cdc.cdc_capture TO $consumer;
GRANT SELECT, DELETE ON cdc.cdc_journal TO $consumer;
GRANT SELECT, UPDATE ON cdc.cdc_marker TO $consumer;

-- name: connects

-- 3. By default every account of the server may connect to this database, and hold its locks.
-- Those that have rights in it, or are connected now, still connect; grant it to others that need it before this.
${grant}REVOKE CONNECT ON DATABASE $database FROM PUBLIC;
