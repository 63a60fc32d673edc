"""PostgreSQL's log: ``replication`` or ``peek`` → ``decode`` → ``transaction`` → ``reader`` → ``source``."""
