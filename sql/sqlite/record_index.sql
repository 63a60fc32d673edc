-- Which changes of a huge transaction belong to which record (cdc.capture.record_index).
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8192;
-- free: the only record that had the name at the start has left it.
CREATE TABLE record (name TEXT PRIMARY KEY, number INTEGER NOT NULL, free INTEGER NOT NULL) WITHOUT ROWID;
-- Records that count as one: the other one's number, which is smaller.
CREATE TABLE joined (number INTEGER PRIMARY KEY, root INTEGER NOT NULL);
-- Records that were deleted, and records that took a key which an earlier one had left.
CREATE TABLE deleted (number INTEGER PRIMARY KEY);
CREATE TABLE successor (owner INTEGER NOT NULL, record INTEGER NOT NULL);
CREATE TABLE change (record INTEGER NOT NULL, ordinal INTEGER NOT NULL, weight INTEGER NOT NULL,
  PRIMARY KEY (record, ordinal)) WITHOUT ROWID;
