-- name: move_lane
-- Unfinished deliveries of a merged lane join the other one; ids keep their order.  The endpoints that have any.
UPDATE cdc_outbox.delivery SET lane = :into
FROM cdc_outbox.endpoint
WHERE endpoint.removed_at IS NULL
  AND delivery.endpoint = endpoint.number AND delivery.lane = :lane AND delivery.state < 2
RETURNING delivery.endpoint

-- name: demote
-- Before `promote`: pending deliveries of lanes wait again (more than the oldest may be pending after a merge, or an
-- older one was retried).  "due" stays, so a retry keeps its time.  One that is leased this moment stays leased.
-- ("state > 0": see `hold`.)
UPDATE cdc_outbox.delivery SET state = 0
FROM unnest(:endpoint::bigint[], :lane::bigint[]) AS given (endpoint, lane)
WHERE delivery.endpoint = given.endpoint AND delivery.lane = given.lane AND delivery.state < 2 AND delivery.state > 0
  AND delivery.worker IS NULL

-- name: promote
-- The oldest waiting delivery of each lane goes, unless one is active.  ("state > 0": see `hold`.)  Those that go, by
-- their endpoints, and since when each is due.
UPDATE cdc_outbox.delivery SET state = 1
FROM unnest(:endpoint::bigint[], :lane::bigint[]) AS given (endpoint, lane)
CROSS JOIN LATERAL (
    SELECT waiting.id FROM cdc_outbox.delivery AS waiting
    WHERE waiting.endpoint = given.endpoint AND waiting.lane = given.lane AND waiting.state < 2 AND waiting.state = 0
    ORDER BY waiting.event
    LIMIT 1
) AS oldest
LEFT JOIN LATERAL (
    SELECT true AS yes FROM cdc_outbox.delivery AS active
    WHERE active.endpoint = given.endpoint AND active.lane = given.lane AND active.state < 2 AND active.state > 0
    LIMIT 1
) AS busy ON true
WHERE delivery.id = oldest.id AND busy.yes IS NULL
RETURNING (SELECT endpoint.id FROM cdc_outbox.endpoint WHERE endpoint.number = delivery.endpoint), delivery.due

-- name: reorder
-- New lanes (merges followed) of deliveries, by id only: a term on the endpoint would have its whole lane index read for
-- each of them.
UPDATE cdc_outbox.delivery SET lane = COALESCE(alias.root, given.lane)
FROM unnest(:id::bigint[], :lane::bigint[]) AS given (id, lane)
LEFT JOIN LATERAL (SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1) AS alias ON true
WHERE delivery.id = given.id

-- name: demote_endpoint
-- Before `promote_endpoint`: `demote` for every lane of an endpoint.
UPDATE cdc_outbox.delivery SET state = 0 WHERE endpoint = :endpoint AND state = 1 AND worker IS NULL

-- name: promote_endpoint
-- `promote` for every lane of an endpoint: the oldest of each goes, unless one is leased.
-- (Found again by id only: a term on the endpoint would have its whole index of lanes read for each of them.)
WITH oldest AS MATERIALIZED (
    SELECT (array_agg(id ORDER BY event))[1] AS id
    FROM cdc_outbox.delivery
    WHERE endpoint = :endpoint AND state < 2
    GROUP BY lane
    HAVING sum(state) = 0
)
UPDATE cdc_outbox.delivery SET state = 1 FROM oldest WHERE delivery.id = oldest.id
