-- Attempts by minute, and by hour once the minute is older, for the statistics.  Each number is the sum of several rows,
-- as in finished_count.

CREATE TABLE cdc_outbox.activity (
    period_start timestamptz      NOT NULL,
    endpoint     bigint           NOT NULL,
    source       text             NOT NULL,
    shard        smallint         NOT NULL,
    delivered    bigint           NOT NULL,
    failed       bigint           NOT NULL,
    seconds      double precision NOT NULL, -- duration of all attempts
    PRIMARY KEY (period_start, endpoint, source, shard)
) WITH (fillfactor = 50);
