-- Backfills: rows that were there before, and how far each table is.

CREATE TABLE backfill (
    id          TEXT    PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    actor       TEXT    NOT NULL,           -- who wants it, as in the audit log
    source      TEXT    NOT NULL,
    table_name  TEXT    NOT NULL,
    condition   TEXT    NOT NULL,           -- SQL of the source's database; empty: all rows
    endpoint    TEXT    NOT NULL,           -- id of the only one that gets the events; empty: who names them
    rate        REAL    NOT NULL,           -- rows a second; 0: any
    estimate    INTEGER,                    -- about how many rows there were
    state       TEXT    NOT NULL,
    row_count   INTEGER NOT NULL DEFAULT 0, -- stored as events so far
    place       TEXT,                       -- JSON object: the primary key that it goes on behind
    finished_at INTEGER,
    error       TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX backfill_time ON backfill (created_at, id);
CREATE INDEX backfill_state ON backfill (source, state, created_at, id);
