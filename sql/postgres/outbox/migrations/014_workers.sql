-- Workers share the sources by leases.  A worker lives while its session holds its advisory lock and its last sign is
-- fresh: the lock ends with a process that dies, the sign with one that hangs or is cut off.  Another worker may take the
-- lease of one that does not live; its epoch grows with each holder, and `set_position` refuses a former one.

CREATE TABLE cdc_outbox.worker (
    number     integer     GENERATED ALWAYS AS IDENTITY UNIQUE,
    name       text        COLLATE "C" PRIMARY KEY,
    version    text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    draining   boolean     NOT NULL DEFAULT false,
    lags       jsonb       NOT NULL DEFAULT '{}' -- source → seconds that its oldest unread change waits
);

CREATE TABLE cdc_outbox.source_lease (
    source    text        COLLATE "C" PRIMARY KEY,
    worker    text        COLLATE "C",
    epoch     bigint      NOT NULL DEFAULT 0,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    wanted_by text        COLLATE "C" -- a worker that has fewer, to which the holder hands it over
);

CREATE VIEW cdc_outbox.live_worker AS
SELECT worker.*
FROM cdc_outbox.worker
WHERE worker.seen_at > clock_timestamp() - interval '8 seconds'
  AND EXISTS (
      SELECT FROM pg_catalog.pg_locks AS held
      WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
        AND held.classid = 1667523329 AND held.objid = worker.number
        AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  );
