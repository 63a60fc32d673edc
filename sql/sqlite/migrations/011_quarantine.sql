-- Changes that could not be processed and were skipped.

CREATE TABLE quarantine (
    id           TEXT    PRIMARY KEY,
    found_at     INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    table_name   TEXT    NOT NULL,
    operation    TEXT    NOT NULL,
    row_key      TEXT,                      -- JSON object: the primary key; NULL: it cannot be read
    token        TEXT    NOT NULL,          -- of the transaction
    changed_at   INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    image_before TEXT    NOT NULL,          -- the row, JSON or as it came; empty: none
    image_after  TEXT    NOT NULL,
    backfill     TEXT    NOT NULL DEFAULT '' -- id of the one that reads the row again
) WITHOUT ROWID;
CREATE INDEX quarantine_time ON quarantine (found_at, id);
