-- Who may use the management page and the HTTP API.  Names are told apart by their keys: case does not count.

CREATE TABLE cdc_outbox.access_user (
    name_key      text        PRIMARY KEY,
    name          text        NOT NULL,
    role          text        NOT NULL,
    password_hash text        NOT NULL,       -- empty: nobody signs in with a password
    totp_secret   text        NOT NULL,       -- sealed as signing secrets are; empty: no code is asked for
    stamp         text        NOT NULL,       -- new with each change of password or TOTP: sessions with another have ended
    created_at    timestamptz NOT NULL
);

-- The last step of the clock for which a code was taken: a code is taken once.
CREATE TABLE cdc_outbox.access_totp_step (
    owner text   PRIMARY KEY,
    step  bigint NOT NULL
);

-- The link that makes the first user, while there is none.
CREATE TABLE cdc_outbox.access_setup (
    digest     text        PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

CREATE TABLE cdc_outbox.access_session (
    digest       text        PRIMARY KEY,     -- SHA-256 of the cookie's value
    user_key     text        NOT NULL,
    user_name    text        NOT NULL,
    role         text        NOT NULL,
    origin       text        NOT NULL,        -- who vouches for the user
    stamp        text        NOT NULL,
    address      text        NOT NULL,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,        -- to the minute
    expires_at   timestamptz NOT NULL
);
CREATE INDEX access_session_user ON cdc_outbox.access_session (user_key);
CREATE INDEX access_session_expiry ON cdc_outbox.access_session (expires_at);

CREATE TABLE cdc_outbox.access_token (
    id           text        PRIMARY KEY,
    name_key     text        NOT NULL UNIQUE,
    name         text        NOT NULL,
    scope        text        NOT NULL,
    digest       text        NOT NULL UNIQUE, -- SHA-256 of the secret part
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz                  -- to the minute
);

-- Who changed what, and when.
CREATE TABLE cdc_outbox.audit (
    number      bigint      PRIMARY KEY,      -- given under a lock: it grows in the order of the commits
    recorded_at timestamptz NOT NULL,
    actor       text        NOT NULL,
    action      text        NOT NULL,
    subject     text        NOT NULL,
    detail      text        NOT NULL          -- JSON object
);

-- Requests that were made with an idempotency key, and their answers.
CREATE TABLE cdc_outbox.idempotency (
    actor        text        NOT NULL,
    request_key  text        NOT NULL,
    fingerprint  text        NOT NULL,
    started_at   timestamptz NOT NULL,
    status       integer,                     -- none: it is being made
    content_type text,
    body         text,                        -- sealed: it may hold a new secret
    PRIMARY KEY (actor, request_key)
);
CREATE INDEX idempotency_start ON cdc_outbox.idempotency (started_at);
