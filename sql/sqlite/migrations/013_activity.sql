-- Attempts by minute, and by hour once the minute is older, for the statistics.

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
