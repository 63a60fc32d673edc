-- Which changes of a huge transaction belong to which record (cdc.capture.record_index).
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8192;
CREATE TABLE record (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX record_number ON record (number);
CREATE TABLE change (record INTEGER NOT NULL, ordinal INTEGER NOT NULL, weight INTEGER NOT NULL,
  PRIMARY KEY (record, ordinal)) WITHOUT ROWID;
