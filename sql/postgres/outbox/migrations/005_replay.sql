-- Replays that go on by themselves: what is sent again, and how far each is.

CREATE TABLE cdc_outbox.replay (
    id           text             PRIMARY KEY,
    created_at   timestamptz      NOT NULL,
    actor        text             NOT NULL,            -- who wants it, as in the audit log
    selection    text             NOT NULL,            -- JSON object: the fields of the filter that narrow
    rate         double precision NOT NULL,            -- deliveries a second
    total        bigint,                               -- none: too many to be counted
    state        text             NOT NULL,
    deliveries   bigint           NOT NULL DEFAULT 0,  -- made due so far
    expunged     bigint           NOT NULL DEFAULT 0,  -- passed over so far
    place        text,                                 -- it goes on behind
    worker       text,                                 -- the process that is at it
    leased_until timestamptz,
    finished_at  timestamptz,
    error        text             NOT NULL DEFAULT ''
);
CREATE INDEX replay_time ON cdc_outbox.replay (created_at, id);
CREATE INDEX replay_state ON cdc_outbox.replay (state, created_at, id);
