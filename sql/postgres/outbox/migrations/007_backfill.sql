-- Backfills: rows that were there before, and how far each table is.

CREATE TABLE cdc_outbox.backfill (
    id          text             PRIMARY KEY,
    created_at  timestamptz      NOT NULL,
    actor       text             NOT NULL,           -- who wants it, as in the audit log
    source      text             NOT NULL,
    table_name  text             NOT NULL,
    condition   text             NOT NULL,           -- SQL of the source's database; empty: all rows
    endpoint    text             NOT NULL,           -- id of the only one that gets the events; empty: who names them
    rate        double precision NOT NULL,           -- rows a second; 0: any
    estimate    bigint,                              -- about how many rows there were
    state       text             NOT NULL,
    row_count   bigint           NOT NULL DEFAULT 0, -- stored as events so far
    place       text,                                -- JSON object: the primary key that it goes on behind
    finished_at timestamptz,
    error       text             NOT NULL DEFAULT ''
);
CREATE INDEX backfill_time ON cdc_outbox.backfill (created_at, id);
CREATE INDEX backfill_state ON cdc_outbox.backfill (source, state, created_at, id);
