"""The HTTP server: connections, health, metrics, alarms."""
