-- What has not been read from it is lost.
SELECT pg_drop_replication_slot($slot);
