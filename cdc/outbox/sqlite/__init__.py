"""The outbox in SQLite: connections, leasing, recording, searching."""
