-- Replays that go on by themselves: what is sent again, and how far each is.

CREATE TABLE replay (
    id           TEXT    PRIMARY KEY,
    created_at   INTEGER NOT NULL,
    actor        TEXT    NOT NULL,           -- who wants it, as in the audit log
    selection    TEXT    NOT NULL,           -- JSON object: the fields of the filter that narrow
    rate         REAL    NOT NULL,           -- deliveries a second
    total        INTEGER,                    -- none: too many to be counted
    state        TEXT    NOT NULL,
    deliveries   INTEGER NOT NULL DEFAULT 0, -- made due so far
    expunged     INTEGER NOT NULL DEFAULT 0, -- passed over so far
    place        TEXT,                       -- it goes on behind
    worker       TEXT,                       -- the process that is at it
    leased_until INTEGER,
    finished_at  INTEGER,
    error        TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX replay_time ON replay (created_at, id);
CREATE INDEX replay_state ON replay (state, created_at, id);
