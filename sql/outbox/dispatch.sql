-- name: bring_forward_waiting
-- Deliveries of an endpoint that wait for others and would be due later than anything makes them, due now: each would
-- wait for the next search when it is its turn.  (`state < 2` admits the partial index.)
UPDATE cdc_outbox.delivery SET due = :now
WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint) AND state < 2 AND state = 0
    AND due > :latest

-- name: disable_endpoint
-- Stops leasing for an endpoint and says why; one that is disabled already keeps its reason.
UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = :reason WHERE number = :number AND enabled

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
