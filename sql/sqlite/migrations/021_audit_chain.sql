-- Each entry of the audit log is chained to the one before: docs/access.md.  The program computes the hashes of the
-- entries that there are.

ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT '';  -- empty: written by an earlier release

CREATE TABLE audit_chain (
    name   TEXT    PRIMARY KEY,  -- head: the last entry; anchor: the last one that was removed; key: of the hashes
    number INTEGER NOT NULL,     -- of the entry; of the key, the first entry that is hashed with it
    hash   TEXT    NOT NULL,
    seal   TEXT    NOT NULL      -- a hash over number and hash; of the key, the key itself, encrypted
) WITHOUT ROWID;
