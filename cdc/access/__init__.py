"""Access to page and API: users, tokens, sessions, the audit log.  Stored where the outbox is."""
