-- What an installer of publication and slot runs.

-- name: publication
-- What is decoded of the log: changes of the tables that are added to it, and of their partitions.
CREATE PUBLICATION $publication WITH ($options);

-- name: publication_options
-- Somebody changed what the publication publishes.
ALTER PUBLICATION $publication SET ($options);

-- name: publish
ALTER PUBLICATION $publication ADD TABLE $table;

-- name: unpublish
ALTER PUBLICATION $publication DROP TABLE $table;

-- name: identity
-- FULL: the log holds the whole row before each change, without which no transition can be seen.
ALTER TABLE $table REPLICA IDENTITY $identity;

-- name: remember
-- What uninstalling needs to know: the replica identity that each table had before.
COMMENT ON PUBLICATION $publication IS $memory;

-- name: create_slot
-- Waits until every transaction that is open now has ended. From here on the server keeps its log until it is read.
SELECT pg_create_logical_replication_slot($slot, 'pgoutput'$more);

-- name: drop_slot
-- What has not been read from it is lost.
SELECT pg_drop_replication_slot($slot);

-- name: drop_publication
-- The last thing: its comment is the memory of the installation.
DROP PUBLICATION $publication;
