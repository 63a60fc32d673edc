"""Named SQL files, one statement or script each, by engine. Installed as the package ``cdc.sql``; read by `cdc.sqlfile`."""
