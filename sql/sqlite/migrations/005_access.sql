-- Who may use the management page and the HTTP API.  Names are told apart by their keys: case does not count.

CREATE TABLE access_user (
    name_key      TEXT    PRIMARY KEY,
    name          TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,       -- empty: nobody signs in with a password
    totp_secret   TEXT    NOT NULL,       -- sealed as signing secrets are; empty: no code is asked for
    stamp         TEXT    NOT NULL,       -- new with each change of password or TOTP: sessions with another have ended
    created_at    INTEGER NOT NULL
) WITHOUT ROWID;

-- The last step of the clock for which a code was taken: a code is taken once.
CREATE TABLE access_totp_step (
    owner TEXT    PRIMARY KEY,
    step  INTEGER NOT NULL
) WITHOUT ROWID;

-- The link that makes the first user, while there is none.
CREATE TABLE access_setup (
    digest     TEXT    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

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
CREATE INDEX access_session_user ON access_session (user_key);
CREATE INDEX access_session_expiry ON access_session (expires_at);

CREATE TABLE access_token (
    id           TEXT    PRIMARY KEY,
    name_key     TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    digest       TEXT    NOT NULL UNIQUE, -- SHA-256 of the secret part
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER                  -- to the minute
) WITHOUT ROWID;

-- Who changed what, and when.
CREATE TABLE audit (
    number      INTEGER PRIMARY KEY,
    recorded_at INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    detail      TEXT    NOT NULL          -- JSON object
);

-- Requests that were made with an idempotency key, and their answers.
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
CREATE INDEX idempotency_start ON idempotency (started_at);
