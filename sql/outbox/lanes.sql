-- name: alias_lane
-- From now on deliveries of a lane join another one.
INSERT INTO cdc_outbox.lane_alias (lane, root) VALUES (:lane, :into)

-- name: redirect_lanes
-- Lanes that were merged into a lane follow it when it is merged in its turn.
UPDATE cdc_outbox.lane_alias SET root = :into WHERE root = :lane

-- name: lane_root
-- The lane that a lane was merged into, if it was.
SELECT root FROM cdc_outbox.lane_alias WHERE lane = :lane

-- name: unfinished_of_endpoint
-- What of an endpoint's is not finished, with what its lane is made of, and whether it is held (`move.sql`).
SELECT delivery.id, event.source, event.record, event.id, delivery.state = 0 AND delivery.worker IS NOT NULL
FROM cdc_outbox.delivery JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE delivery.endpoint = :endpoint AND delivery.state < 2
