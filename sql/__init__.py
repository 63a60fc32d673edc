"""SQL files: one statement or script each, by engine, or named statements (``outbox``).  Installed as ``cdc.sql``; read
by `cdc.database.sqlfile`."""
