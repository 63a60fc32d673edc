-- Finished deliveries wait again, in their lanes (merges followed), as if never tried, and are not counted as finished any
-- more.  The lanes, each of which is to be settled.
WITH given AS (
    SELECT given.id, given.state, given.endpoint, COALESCE(alias.root, given.lane) AS lane
    FROM unnest(%(ids)s::bigint[], %(states)s::smallint[], %(endpoints)s::bigint[], %(lanes)s::bigint[])
         AS given (id, state, endpoint, lane)
    LEFT JOIN LATERAL (SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1) AS alias ON true
),
reopened AS (
    UPDATE cdc_outbox.delivery SET state = 0, due = %(now)s, attempts = 0, finished_at = NULL, lane = given.lane
    FROM given
    WHERE delivery.id = given.id
    RETURNING delivery.endpoint, delivery.lane
),
counted AS (
    INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
    SELECT endpoint, state, pg_backend_pid() & 15, -count(*) FROM given
    GROUP BY endpoint, state
    ORDER BY endpoint, state
    ON CONFLICT (endpoint, state, shard) DO UPDATE SET deliveries = finished_count.deliveries + excluded.deliveries
)
SELECT DISTINCT endpoint, lane FROM reopened
