-- The outbox: events, one delivery per (event, endpoint), attempts, source positions and states.
--
-- Times are integers: microseconds since 1970-01-01 UTC.
-- A lane orders deliveries: within (endpoint, lane) one at a time is active, the others wait in the order of their ids.
-- A lane is the 64-bit hash of a source and a record's name; `lane_alias` sends the lane of a renamed record to the
-- lane of its former name.  Equal hashes of two records would only order more than needed.

CREATE TABLE endpoint (
    number              INTEGER PRIMARY KEY,
    id                  TEXT    NOT NULL UNIQUE,
    url                 TEXT    NOT NULL,
    events              TEXT    NOT NULL,   -- JSON list of patterns
    sources             TEXT    NOT NULL,   -- JSON list of names; empty: all
    secret              TEXT    NOT NULL,   -- emptied when the endpoint is removed
    former_secret       TEXT,
    former_secret_until INTEGER,
    format              TEXT    NOT NULL,
    timeout             REAL    NOT NULL,   -- seconds
    retry_schedule      TEXT    NOT NULL,   -- JSON list of seconds
    concurrency         INTEGER NOT NULL,
    description         TEXT    NOT NULL,
    enabled             INTEGER NOT NULL,
    disabled_reason     TEXT    NOT NULL,
    created_at          INTEGER NOT NULL,
    removed_at          INTEGER             -- the row stays: the log names its endpoint
);

CREATE TABLE event (
    sequence INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    name     TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    record   TEXT    NOT NULL,
    time     INTEGER NOT NULL,
    payload  BLOB    NOT NULL               -- JSON in the default format
);

CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY,
    event       INTEGER NOT NULL REFERENCES event (sequence),
    endpoint    INTEGER NOT NULL REFERENCES endpoint (number),
    lane        INTEGER NOT NULL,
    state       INTEGER NOT NULL,           -- 0 waiting, 1 active, 2 delivered, 3 dead, 4 cancelled
    due         INTEGER NOT NULL,           -- when it may be leased: of a leased one, when the lease expires
    attempts    INTEGER NOT NULL DEFAULT 0,
    worker      TEXT,                       -- who leases it; an active one without worker is pending
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
);
-- Hot statements read these partial indexes only, so the finished log costs them nothing.
CREATE INDEX delivery_lane ON delivery (endpoint, lane, state) WHERE state < 2;
CREATE INDEX delivery_due ON delivery (endpoint, due) WHERE state = 1;
CREATE INDEX delivery_worker ON delivery (worker) WHERE worker IS NOT NULL;
-- For the log: the deliveries of an event (there is one per endpoint), and the dead letters.
CREATE UNIQUE INDEX delivery_event ON delivery (event, endpoint);
CREATE INDEX delivery_dead ON delivery (id) WHERE state = 3;

CREATE TABLE attempt (
    id         INTEGER PRIMARY KEY,
    delivery   INTEGER NOT NULL REFERENCES delivery (id),
    number     INTEGER NOT NULL,            -- may repeat: a retry by hand counts from one again
    url        TEXT    NOT NULL,
    status     INTEGER,
    started_at INTEGER NOT NULL,
    duration   REAL    NOT NULL,            -- seconds
    error      TEXT    NOT NULL,
    answer     TEXT    NOT NULL
);
CREATE INDEX attempt_delivery ON attempt (delivery);

CREATE TABLE lane_alias (
    lane INTEGER PRIMARY KEY,
    root INTEGER NOT NULL                   -- never an alias itself
);
CREATE INDEX lane_alias_root ON lane_alias (root);

CREATE TABLE source_position (
    source   TEXT PRIMARY KEY,
    position TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE source_state (
    source TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (source, name)
) WITHOUT ROWID;

-- Finished deliveries by endpoint and state, so that counting them does not read the log.
CREATE TABLE finished_count (
    endpoint   INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (endpoint, state)
) WITHOUT ROWID;

CREATE TRIGGER delivery_finished AFTER UPDATE OF state ON delivery WHEN old.state < 2 AND new.state >= 2
BEGIN
    INSERT INTO finished_count (endpoint, state, deliveries) VALUES (new.endpoint, new.state, 1)
    ON CONFLICT (endpoint, state) DO UPDATE SET deliveries = deliveries + 1;
END;

CREATE TRIGGER delivery_reopened AFTER UPDATE OF state ON delivery WHEN old.state >= 2 AND new.state < 2
BEGIN
    UPDATE finished_count SET deliveries = deliveries - 1 WHERE endpoint = old.endpoint AND state = old.state;
END;
