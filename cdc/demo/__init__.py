"""The demo: a private PostgreSQL with FacturaScripts' tables, triggers, consumer and receiver."""
