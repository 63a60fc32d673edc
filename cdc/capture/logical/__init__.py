"""PostgreSQL's log: ``replication`` → ``decode`` → ``transaction`` → ``source``."""
