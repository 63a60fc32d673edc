-- name: bring_forward_waiting
-- Deliveries of an endpoint that wait for others and would be due later than anything makes them, due now: each would
-- wait for the next search when it is its turn.  (`state < 2` admits the partial index.)
UPDATE cdc_outbox.delivery SET due = :now
WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint) AND state < 2 AND state = 0
    AND due > :latest

-- name: release
-- Gives back every lease of a worker.  A lease that is still held has no attempt record (the record ends it), so its
-- attempt is uncounted.
UPDATE cdc_outbox.delivery SET worker = NULL, due = :now, attempts = attempts - 1
WHERE state = 1 AND worker = :worker
RETURNING endpoint, lane

-- name: bring_forward
-- Deliveries of an endpoint that are due later than anything makes them (a clock was wrong), due now. Not those that this
-- worker has on their way.
UPDATE cdc_outbox.delivery SET due = :now
WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint) AND state = 1 AND due > :latest
    AND (worker IS NULL OR worker <> :worker)

-- name: held
-- Deliveries that a worker leases, of some.
SELECT delivery.id, endpoint.id, event.id, event.name, event.record, delivery.attempts, delivery.due, event.payload,
       event.source
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = ANY (:ids::bigint[]) AND delivery.worker = :worker
ORDER BY delivery.id

-- name: due_of
-- When the first delivery of an endpoint is due.
SELECT delivery.due
FROM cdc_outbox.endpoint JOIN cdc_outbox.delivery ON delivery.endpoint = endpoint.number
WHERE endpoint.id = :endpoint AND endpoint.enabled AND endpoint.removed_at IS NULL AND delivery.state = 1
ORDER BY delivery.due
LIMIT 1

-- name: numbers_of_endpoints
-- Ids and numbers of endpoints that were not removed.
SELECT id, number FROM cdc_outbox.endpoint WHERE removed_at IS NULL
