"""Message brokers as receivers: a module for each kind, loaded when an endpoint uses it."""
