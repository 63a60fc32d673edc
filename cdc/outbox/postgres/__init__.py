"""The outbox in PostgreSQL: connections, leasing, recording, searching."""
