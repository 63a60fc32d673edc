-- End the connection that reads the slot: one of our own account, which needs no privilege for that.
SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active_pid IS NOT NULL
