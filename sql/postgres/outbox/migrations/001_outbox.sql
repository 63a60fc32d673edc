-- The outbox: events, one delivery per (event, endpoint), attempts, source positions and states.
--
-- Everything is in the schema cdc_outbox, which exists already.
-- A lane orders deliveries: within (endpoint, lane) one at a time is active, the others wait in the order of their ids.
-- A lane is the 64-bit hash of a source and a record's name; lane_alias sends the lane of a renamed record to the lane
-- of its former name.  Equal hashes of two records would only order more than needed.
-- Ids of events and deliveries are given under a lock, not by sequences: they grow in the order of the commits.

CREATE TABLE cdc_outbox.endpoint (
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text        NOT NULL UNIQUE,
    events          text[]      NOT NULL,   -- patterns
    sources         text[]      NOT NULL,   -- names; empty: all
    enabled         boolean     NOT NULL,
    disabled_reason text        NOT NULL,
    secret          text        NOT NULL,   -- emptied when the endpoint is removed
    former_secret   text,
    settings        jsonb       NOT NULL,   -- all else, which no statement looks at
    created_at      timestamptz NOT NULL,
    removed_at      timestamptz             -- the row stays: the log names its endpoint
);

CREATE TABLE cdc_outbox.event (
    sequence bigint      PRIMARY KEY,
    id       text        NOT NULL UNIQUE,
    name     text        NOT NULL,
    source   text        NOT NULL,
    record   text        NOT NULL,
    "time"   timestamptz NOT NULL,
    payload  bytea       NOT NULL           -- JSON in the default format, byte for byte what is signed
);

CREATE TABLE cdc_outbox.delivery (
    id          bigint      PRIMARY KEY,
    event       bigint      NOT NULL REFERENCES cdc_outbox.event (sequence),
    endpoint    bigint      NOT NULL,
    lane        bigint      NOT NULL,
    state       smallint    NOT NULL,       -- 0 waiting, 1 active, 2 delivered, 3 dead, 4 cancelled
    due         timestamptz NOT NULL,       -- when it may be leased: of a leased one, when the lease expires
    attempts    integer     NOT NULL DEFAULT 0,
    worker      text,                       -- who leases it; an active one without worker is pending
    created_at  timestamptz NOT NULL,
    finished_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- Hot statements read these partial indexes only, so the finished log costs them nothing.
CREATE INDEX delivery_lane ON cdc_outbox.delivery (endpoint, lane, state, id) WHERE state < 2;
CREATE INDEX delivery_due ON cdc_outbox.delivery (endpoint, due, id) WHERE state = 1;
-- For the log: the deliveries of an event (there is one per endpoint), and the dead letters.
CREATE UNIQUE INDEX delivery_event ON cdc_outbox.delivery (event, endpoint);
CREATE INDEX delivery_dead ON cdc_outbox.delivery (id) WHERE state = 3;

CREATE TABLE cdc_outbox.attempt (
    id         bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery   bigint           NOT NULL REFERENCES cdc_outbox.delivery (id),
    number     integer          NOT NULL,   -- may repeat: a retry by hand counts from one again
    url        text             NOT NULL,
    status     integer,
    started_at timestamptz      NOT NULL,
    duration   double precision NOT NULL,   -- seconds
    error      text             NOT NULL,
    answer     text             NOT NULL
);
CREATE INDEX attempt_delivery ON cdc_outbox.attempt (delivery, id);

CREATE TABLE cdc_outbox.lane_alias (
    lane bigint PRIMARY KEY,
    root bigint NOT NULL                    -- never an alias itself
);
CREATE INDEX lane_alias_root ON cdc_outbox.lane_alias (root);

CREATE TABLE cdc_outbox.source_position (
    source   text PRIMARY KEY,
    position text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE cdc_outbox.source_state (
    source text NOT NULL,
    name   text NOT NULL,
    value  text NOT NULL,
    PRIMARY KEY (source, name)
);

-- Finished deliveries by endpoint and state, so that counting them does not read the log.  Each number is the sum of
-- several rows: processes that count at the same time do not wait for each other's row.
CREATE TABLE cdc_outbox.finished_count (
    endpoint   bigint   NOT NULL,
    state      smallint NOT NULL,
    shard      smallint NOT NULL,
    deliveries bigint   NOT NULL,
    PRIMARY KEY (endpoint, state, shard)
) WITH (fillfactor = 50);
