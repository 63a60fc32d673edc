"""What a DBA installs so that changes are read from PostgreSQL's log: a publication, a replication slot, and whole rows
in the log."""
