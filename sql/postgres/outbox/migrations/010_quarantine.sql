-- Changes that could not be processed and were skipped.

CREATE TABLE cdc_outbox.quarantine (
    id           text        PRIMARY KEY,
    found_at     timestamptz NOT NULL,
    source       text        NOT NULL,
    table_name   text        NOT NULL,
    operation    text        NOT NULL,
    row_key      text,                       -- JSON object: the primary key; NULL: it cannot be read
    token        text        NOT NULL,       -- of the transaction
    changed_at   timestamptz NOT NULL,
    reason       text        NOT NULL,
    image_before text        NOT NULL,       -- the row, JSON or as it came; empty: none
    image_after  text        NOT NULL,
    backfill     text        NOT NULL DEFAULT '' -- id of the one that reads the row again
);
CREATE INDEX quarantine_time ON cdc_outbox.quarantine (found_at, id);
