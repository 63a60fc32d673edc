-- name: move_lane
-- Moves what is unfinished in one lane to another; where, once for each delivery.
UPDATE delivery SET lane = :into
WHERE lane = :lane AND state < 2 AND endpoint IN (SELECT number FROM endpoint WHERE removed_at IS NULL)
RETURNING endpoint

-- name: demote
-- Before `promote`: pending deliveries of a lane wait again (more than the oldest may be pending after a merge, or
-- an older one was retried).  `due` stays, so a retry keeps its time.  (`state < 2` admits the partial index.)
UPDATE delivery SET state = 0
WHERE endpoint = :endpoint AND lane = :lane AND state < 2 AND state = 1 AND worker IS NULL

-- name: promote
-- The oldest waiting delivery of a lane goes, unless one is active.  (`state < 2` admits the partial index.)
UPDATE delivery SET state = 1
WHERE id = (
    SELECT id FROM delivery WHERE endpoint = :endpoint AND lane = :lane AND state < 2 AND state = 0
    ORDER BY event LIMIT 1
)
AND NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = :endpoint AND lane = :lane AND state < 2 AND state = 1)

-- name: promote_behind
-- Behind finished deliveries (a JSON list of ids) the oldest waiting one of each lane goes, unless one is active.
-- (`state < 2` admits the partial index.)
UPDATE delivery SET state = 1
WHERE id IN (
    SELECT (
        SELECT waiting.id FROM delivery AS waiting
        WHERE waiting.endpoint = finished.endpoint AND waiting.lane = finished.lane
          AND waiting.state < 2 AND waiting.state = 0
        ORDER BY waiting.event LIMIT 1
    )
    FROM json_each(?) AS given CROSS JOIN delivery AS finished ON finished.id = given.value
    WHERE EXISTS (
        SELECT 1 FROM delivery AS other
        WHERE other.endpoint = finished.endpoint AND other.lane = finished.lane
          AND other.state < 2 AND other.state = 0
    )
    AND NOT EXISTS (
        SELECT 1 FROM delivery AS active
        WHERE active.endpoint = finished.endpoint AND active.lane = finished.lane
          AND active.state < 2 AND active.state = 1
    )
)

-- name: demote_endpoint
-- Before `promote_endpoint`: `demote` for every lane of an endpoint.
UPDATE delivery SET state = 0 WHERE endpoint = :endpoint AND state < 2 AND state = 1 AND worker IS NULL

-- name: promote_endpoint
-- `promote` for every lane of an endpoint: the oldest of each goes, unless one is leased.
UPDATE delivery SET state = 1
WHERE endpoint = :endpoint AND state = 0 AND event IN (
    SELECT MIN(event) FROM delivery WHERE endpoint = :endpoint AND state < 2 GROUP BY lane HAVING SUM(state) = 0
)

-- name: reorder
-- The new lane (merges followed) of a delivery.
UPDATE delivery SET lane = COALESCE((SELECT root FROM lane_alias WHERE lane_alias.lane = :lane), :lane) WHERE id = :id
