-- Deliveries in order: active where the lane (merges followed) has nothing unfinished, else waiting.
-- ("state < 2" admits the partial index; LIMIT keeps the look-up from being made for all lanes at once.)
WITH given AS (
    SELECT given.n, given.event, given.endpoint, COALESCE(alias.root, given.lane) AS lane
    FROM unnest(%(events)s::bigint[], %(endpoints)s::bigint[], %(lanes)s::bigint[])
         WITH ORDINALITY AS given (event, endpoint, lane, n)
    LEFT JOIN LATERAL (SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1) AS alias ON true
)
INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, created_at)
SELECT %(last)s + given.n, given.event, given.endpoint, given.lane,
       CASE WHEN busy.yes OR row_number() OVER (PARTITION BY given.endpoint, given.lane ORDER BY given.n) > 1
            THEN 0 ELSE 1 END,
       %(now)s, %(now)s
FROM given
LEFT JOIN LATERAL (
    SELECT true AS yes FROM cdc_outbox.delivery AS other
    WHERE other.endpoint = given.endpoint AND other.lane = given.lane AND other.state < 2
    LIMIT 1
) AS busy ON true
ORDER BY given.n
