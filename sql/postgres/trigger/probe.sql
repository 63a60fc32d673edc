-- The table whose triggers, the same as those of captured tables, prove that changes are captured. Always empty for others:
-- its rows and what is journaled of them are rolled back. id: the connection's process.
DROP TABLE IF EXISTS cdc.cdc_probe;
CREATE TABLE cdc.cdc_probe (
    id integer PRIMARY KEY,
    n integer NOT NULL
);
