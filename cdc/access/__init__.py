"""Who may use the management page and the HTTP API: users, tokens, sessions, and the log of what they changed."""
