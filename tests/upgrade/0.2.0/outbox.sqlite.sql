BEGIN TRANSACTION;
CREATE TABLE access_session (
    digest       TEXT    PRIMARY KEY,     -- SHA-256 of the cookie's value
    user_key     TEXT    NOT NULL,
    user_name    TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    origin       TEXT    NOT NULL,        -- who vouches for the user
    stamp        TEXT    NOT NULL,
    address      TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,        -- to the minute
    expires_at   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE access_setup (
    digest     TEXT    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE access_token (
    id           TEXT    PRIMARY KEY,
    name_key     TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    digest       TEXT    NOT NULL UNIQUE, -- SHA-256 of the secret part
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER                  -- to the minute
, sources TEXT NOT NULL DEFAULT '[]', allowed TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;
INSERT INTO "access_token" VALUES('tok_1','shop-1','shop-1','read','digest',1795521600000000,NULL,NULL,'[]','[]');
CREATE TABLE access_totp_step (
    owner TEXT    PRIMARY KEY,
    step  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE access_user (
    name_key      TEXT    PRIMARY KEY,
    name          TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,       -- empty: nobody signs in with a password
    totp_secret   TEXT    NOT NULL,       -- sealed as signing secrets are; empty: no code is asked for
    stamp         TEXT    NOT NULL,       -- new with each change of password or TOTP: sessions with another have ended
    created_at    INTEGER NOT NULL
, sources TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;
INSERT INTO "access_user" VALUES('ann','ann','manager','$argon2id$none','','s1',1795521600000000,'[]');
CREATE TABLE activity (
    period_start INTEGER NOT NULL,
    endpoint     INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    shard        INTEGER NOT NULL,          -- 0: only PostgreSQL has processes that count at the same time
    delivered    INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    seconds      REAL    NOT NULL,          -- duration of all attempts
    PRIMARY KEY (period_start, endpoint, source, shard)
) WITHOUT ROWID;
INSERT INTO "activity" VALUES(1795521600000000,1,'main',0,1,2,0.75);
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
INSERT INTO "attempt" VALUES(1,9,1,'https://example.com',200,1795521600000000,0.25,'','ok');
INSERT INTO "attempt" VALUES(2,13,1,'https://example.com',500,1795521600000000,0.25,'The endpoint answered 500.','oops');
INSERT INTO "attempt" VALUES(3,17,1,'https://example.com',500,1795521600000000,0.25,'The endpoint answered 500.','oops');
CREATE TABLE audit (
    number      INTEGER PRIMARY KEY,
    recorded_at INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    detail      TEXT    NOT NULL          -- JSON object
);
INSERT INTO "audit" VALUES(1,1795521600000000,'cli:root','user.add','user:ann','{}');
INSERT INTO "audit" VALUES(2,1795521600000000,'cli:root','token.add','token:tok_1','{}');
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
INSERT INTO "delivery" VALUES(1,1,1,-8629838264580145662,1,1795521660000000,1,'gone',1795521600000000,NULL);
INSERT INTO "delivery" VALUES(2,1,2,-8629838264580145662,1,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(3,1,3,-7712737833812065720,1,1795521660000000,1,'gone',1795521600000000,NULL);
INSERT INTO "delivery" VALUES(4,1,4,-8629838264580145662,4,1795521660000000,1,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(5,2,1,-8629838264580145662,0,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(6,2,2,-8629838264580145662,0,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(7,2,3,-7712737833812065720,0,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(8,2,4,-8629838264580145662,4,1795521600000000,0,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(9,3,1,1946104229633482950,2,1795521600000000,1,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(10,3,2,1946104229633482950,1,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(11,3,3,-7712737833812065720,0,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(12,3,4,1946104229633482950,4,1795521660000000,1,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(13,4,1,3360960397405696831,3,1795521600000000,1,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(14,4,2,3360960397405696831,1,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(15,4,3,-7712737833812065720,0,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(16,4,4,3360960397405696831,4,1795521660000000,1,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(17,5,1,6391079430799470090,1,1795521625000000,1,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(18,5,2,6391079430799470090,1,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(19,5,3,-7712737833812065720,0,1795521600000000,0,NULL,1795521600000000,NULL);
INSERT INTO "delivery" VALUES(20,5,4,6391079430799470090,4,1795521660000000,1,NULL,1795521600000000,1795521600000000);
INSERT INTO "delivery" VALUES(21,6,1,-8629838264580145662,0,1795521606000000,0,NULL,1795521606000000,NULL);
INSERT INTO "delivery" VALUES(22,6,2,-8629838264580145662,0,1795521606000000,0,NULL,1795521606000000,NULL);
INSERT INTO "delivery" VALUES(23,6,3,-7712737833812065720,0,1795521606000000,0,NULL,1795521606000000,NULL);
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
, origin TEXT NOT NULL DEFAULT '', delivery_order TEXT NOT NULL DEFAULT 'record', condition TEXT NOT NULL DEFAULT '', headers TEXT NOT NULL DEFAULT '[]', failing_since INTEGER, settings TEXT NOT NULL DEFAULT '{}');
INSERT INTO "endpoint" VALUES(1,'ep_a','https://ep_a.example.com','["*"]','[]','fernet:gAAAAABrDCbs7WMwgRpNJFAAB23K6iVDUFx9o63jTvy9eeZNOGwWvokuL-XHcmRZ9R0Qi3RNN8oAw9xb6yFdC2AlqtKcO694pqOD-8jBmQ4aXmaOoz6Ray0M7khDLTMeK5p2EvlOJY5T','fernet:gAAAAABrDCbsdOF30QB2eYvObF1MDDespr5toPjB_f-bfpTv3CTkBjl9eW63rb86_UFfXjCPnPEr-G8crLhQLylAw0aOzkGS8toj_X43UAdK2NEWVJgU_-ZaA7ENHRn0bPG9NcbduG_P',1795525200000000,'facturascripts',10.0,'[5, 25, 125, 625, 3125]',16,'',1,'',1795521600000000,NULL,'','record','','[["X-Key", "fernet:gAAAAABrDCbso_wDv87QuVLxDqf0eecS7EfTuocgziu8T5Wh6M_5RR8Lg1cWfrZgjfXckQbLZ6otmSx5Thr4GOAF2sZvdmSLLQ=="]]',1795521600000000,'{"rate": 0.0, "batch_size": 1, "batch_wait": 1.0, "fields": [], "proxy": "", "client_certificate": "", "disable_after": 432000.0, "credentials_of": []}');
INSERT INTO "endpoint" VALUES(2,'ep_off','https://ep_off.example.com','["*"]','[]','fernet:gAAAAABrDCbsPVaN3_PzKRnLoCzOgpWpyo2w212J99Ix6pPh0fvC4OYQCaP-Zh3E2XJDOtkP_fA0l6F1PQNws_jcgGJSTapYwcnFfVXMTbYd2pU3XVYEPvvfSZp6VgT6yWIzIRrjwMfQ',NULL,NULL,'facturascripts',10.0,'[5, 25, 125, 625, 3125]',16,'',0,'It answered 410.',1795521600000000,NULL,'','record','','[]',NULL,'{"rate": 0.0, "batch_size": 1, "batch_wait": 1.0, "fields": [], "proxy": "", "client_certificate": "", "disable_after": 432000.0, "credentials_of": []}');
INSERT INTO "endpoint" VALUES(3,'ep_line','https://ep_line.example.com','["*"]','[]','fernet:gAAAAABrDCbs1GdxZpdZXZkc6m52ZJC_UmE6yNrT25PMFXRSvQ86rLeBPA6slFT8pekjsfZq6g4Mz8lvtBfMghvDd7auK0V75qRvrgI9CxasuBNQzIYHwtv_LUavWEwO3zD2lK9gvsFI',NULL,NULL,'facturascripts',10.0,'[5, 25, 125, 625, 3125]',16,'',1,'',1795521600000000,NULL,'','endpoint','data.total > 1.0','[]',NULL,'{"rate": 0.0, "batch_size": 1, "batch_wait": 1.0, "fields": [], "proxy": "", "client_certificate": "", "disable_after": 432000.0, "credentials_of": []}');
INSERT INTO "endpoint" VALUES(4,'ep_gone','https://ep_gone.example.com','["*"]','[]','',NULL,NULL,'facturascripts',10.0,'[5, 25, 125, 625, 3125]',16,'',0,'',1795521600000000,1795521600000000,'','record','','[]',NULL,'{"rate": 0.0, "batch_size": 1, "batch_wait": 1.0, "fields": [], "proxy": "", "client_certificate": "", "disable_after": 432000.0, "credentials_of": []}');
CREATE TABLE event (
    sequence INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    name     TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    record   TEXT    NOT NULL,
    time     INTEGER NOT NULL,
    payload  BLOB    NOT NULL               -- JSON in the default format
, label_code TEXT, label_name TEXT);
INSERT INTO "event" VALUES(1,'evt_1','invoice.updated','main','facturascli:1',1795521601000000,X'7B226964223A226576745F31222C226576656E74223A22696E766F6963652E75706461746564222C2274696D657374616D70223A22323032362D31312D32345431323A30303A30312E3030303030305A222C22736F75726365223A226D61696E222C226B6579223A7B22696466616374757261223A2231227D2C2264617461223A7B22696466616374757261223A2231222C22746F74616C223A312E357D2C2270726576696F7573223A7B22746F74616C223A312E307D2C227472616E73616374696F6E223A227431227D',NULL,NULL);
INSERT INTO "event" VALUES(2,'evt_2','invoice.updated','main','facturascli:1',1795521602000000,X'7B226964223A226576745F32222C226576656E74223A22696E766F6963652E75706461746564222C2274696D657374616D70223A22323032362D31312D32345431323A30303A30322E3030303030305A222C22736F75726365223A226D61696E222C226B6579223A7B22696466616374757261223A2231227D2C2264617461223A7B22696466616374757261223A2231222C22746F74616C223A312E357D2C2270726576696F7573223A7B22746F74616C223A312E307D2C227472616E73616374696F6E223A227432227D',NULL,NULL);
INSERT INTO "event" VALUES(3,'evt_3','invoice.updated','main','clientes:ñ''1',1795521603000000,X'7B226964223A226576745F33222C226576656E74223A22696E766F6963652E75706461746564222C2274696D657374616D70223A22323032362D31312D32345431323A30303A30332E3030303030305A222C22736F75726365223A226D61696E222C226B6579223A7B22696466616374757261223A22C3B12731227D2C2264617461223A7B22696466616374757261223A22C3B12731222C22746F74616C223A312E357D2C2270726576696F7573223A7B22746F74616C223A312E307D2C227472616E73616374696F6E223A227433227D',NULL,NULL);
INSERT INTO "event" VALUES(4,'evt_4','invoice.updated','main','facturascli:4',1795521604000000,X'7B226964223A226576745F34222C226576656E74223A22696E766F6963652E75706461746564222C2274696D657374616D70223A22323032362D31312D32345431323A30303A30342E3030303030305A222C22736F75726365223A226D61696E222C226B6579223A7B22696466616374757261223A2234227D2C2264617461223A7B22696466616374757261223A2234222C22746F74616C223A312E357D2C2270726576696F7573223A7B22746F74616C223A312E307D2C227472616E73616374696F6E223A227434227D',NULL,NULL);
INSERT INTO "event" VALUES(5,'evt_5','invoice.updated','main','facturascli:5',1795521605000000,X'7B226964223A226576745F35222C226576656E74223A22696E766F6963652E75706461746564222C2274696D657374616D70223A22323032362D31312D32345431323A30303A30352E3030303030305A222C22736F75726365223A226D61696E222C226B6579223A7B22696466616374757261223A2235227D2C2264617461223A7B22696466616374757261223A2235222C22746F74616C223A312E357D2C2270726576696F7573223A7B22746F74616C223A312E307D2C227472616E73616374696F6E223A227435227D',NULL,NULL);
INSERT INTO "event" VALUES(6,'evt_6','invoice.paid','main','facturascli:1',1795521606000000,X'7B226964223A226576745F36222C226576656E74223A22696E766F6963652E70616964222C2274696D657374616D70223A22323032362D31312D32345431323A30303A30362E3030303030305A222C22736F75726365223A226D61696E222C226B6579223A7B22696466616374757261223A2231227D2C2264617461223A7B22696466616374757261223A2231222C22746F74616C223A312E357D2C2270726576696F7573223A7B22746F74616C223A312E307D2C227472616E73616374696F6E223A227436227D',NULL,NULL);
CREATE TABLE finished_count (
    endpoint   INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (endpoint, state)
) WITHOUT ROWID;
INSERT INTO "finished_count" VALUES(1,2,1);
INSERT INTO "finished_count" VALUES(1,3,1);
INSERT INTO "finished_count" VALUES(4,4,5);
CREATE TABLE idempotency (
    actor        TEXT    NOT NULL,
    request_key  TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    status       INTEGER,                 -- none: it is being made
    content_type TEXT,
    body         TEXT,                    -- sealed: it may hold a new secret
    PRIMARY KEY (actor, request_key)
) WITHOUT ROWID;
CREATE TABLE kept_row (
    source     TEXT NOT NULL,
    table_name TEXT NOT NULL,
    key        BLOB NOT NULL, -- in the order of the keys
    digest     BLOB NOT NULL, -- of the row
    content    BLOB NOT NULL, -- the row, packed by the source
    PRIMARY KEY (source, table_name, key)
) WITHOUT ROWID;
CREATE TABLE lane_alias (
    lane INTEGER PRIMARY KEY,
    root INTEGER NOT NULL                   -- never an alias itself
);
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
CREATE TABLE source_position (
    source   TEXT PRIMARY KEY,
    position TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "source_position" VALUES('main','p2');
CREATE TABLE source_state (
    source TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (source, name)
) WITHOUT ROWID;
INSERT INTO "source_state" VALUES('main','user:ann','in');
CREATE INDEX delivery_due ON delivery (endpoint, due) WHERE state = 1;
CREATE INDEX delivery_worker ON delivery (worker) WHERE worker IS NOT NULL;
CREATE UNIQUE INDEX delivery_event ON delivery (event, endpoint);
CREATE INDEX attempt_delivery ON attempt (delivery);
CREATE INDEX lane_alias_root ON lane_alias (root);
CREATE TRIGGER delivery_finished AFTER UPDATE OF state ON delivery WHEN old.state < 2 AND new.state >= 2
BEGIN
    INSERT INTO finished_count (endpoint, state, deliveries) VALUES (new.endpoint, new.state, 1)
    ON CONFLICT (endpoint, state) DO UPDATE SET deliveries = deliveries + 1;
END;
CREATE TRIGGER delivery_reopened AFTER UPDATE OF state ON delivery WHEN old.state >= 2 AND new.state < 2
BEGIN
    UPDATE finished_count SET deliveries = deliveries - 1 WHERE endpoint = old.endpoint AND state = old.state;
END;
CREATE INDEX delivery_lane ON delivery (endpoint, lane, state, event) WHERE state < 2;
CREATE INDEX event_record ON event (record);
CREATE INDEX event_name ON event (name);
CREATE INDEX event_time ON event (time);
CREATE INDEX delivery_endpoint ON delivery (endpoint + 0, event);
CREATE INDEX delivery_dead ON delivery (event) WHERE state = 3;
CREATE INDEX delivery_cancelled ON delivery (event) WHERE state = 4;
CREATE TRIGGER delivery_removed AFTER DELETE ON delivery WHEN old.state >= 2
BEGIN
    UPDATE finished_count SET deliveries = deliveries - 1 WHERE endpoint = old.endpoint AND state = old.state;
END;
CREATE INDEX access_session_user ON access_session (user_key);
CREATE INDEX access_session_expiry ON access_session (expires_at);
CREATE INDEX idempotency_start ON idempotency (started_at);
CREATE INDEX replay_time ON replay (created_at, id);
CREATE INDEX replay_state ON replay (state, created_at, id);
CREATE INDEX backfill_time ON backfill (created_at, id);
CREATE INDEX backfill_state ON backfill (source, state, created_at, id);
CREATE INDEX quarantine_time ON quarantine (found_at, id);
CREATE INDEX event_label_code ON event (label_code) WHERE label_code IS NOT NULL;
CREATE INDEX event_label_name ON event (label_name) WHERE label_name IS NOT NULL;
COMMIT;
PRAGMA application_id = 1717781348;
PRAGMA user_version = 14;
