-- Waits until every transaction that is open now has ended. From here on the server keeps its log until it is read.
SELECT pg_create_logical_replication_slot($slot, 'pgoutput'$more);
