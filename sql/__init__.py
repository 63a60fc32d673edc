"""Named SQL files, one statement or script each, by engine.  Installed as ``cdc.sql``; read by `cdc.sqlfile`."""
