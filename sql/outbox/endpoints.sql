-- name: find_endpoint
-- An endpoint that was not removed, kept from changes by others: its number, and whether it is enabled.
SELECT number, enabled FROM cdc_outbox.endpoint WHERE id = :id AND removed_at IS NULL FOR UPDATE

-- name: take
-- Leases the one delivery of an event that nobody has seen yet, if it is active.
UPDATE cdc_outbox.delivery SET worker = :worker, due = :until, attempts = attempts + 1
WHERE event = :event AND state = 1
RETURNING id

-- name: cancel_deliveries
-- Ends every unfinished delivery of an endpoint.
UPDATE cdc_outbox.delivery SET state = 4, worker = NULL, finished_at = :now WHERE endpoint = :number AND state < 2

-- name: subscriber
-- Which events an endpoint wants, if it was not removed.
SELECT number, events, sources, delivery_order, condition, id FROM cdc_outbox.endpoint
WHERE id = :id AND removed_at IS NULL

-- name: subscribers
-- Endpoints that may want an event: all that were not removed, in the order in which they were added.
SELECT number, events, sources, delivery_order, condition, id FROM cdc_outbox.endpoint
WHERE removed_at IS NULL
ORDER BY number

-- name: last_endpoint
-- The greatest number of an endpoint; zero when there was none.
SELECT COALESCE(max(number), 0) FROM cdc_outbox.endpoint

-- name: failing_endpoints
-- What `endpoints_version` does not cover.
SELECT id, failing_since FROM cdc_outbox.endpoint WHERE failing_since IS NOT NULL AND removed_at IS NULL

-- name: endpoints_version
SELECT version FROM cdc_outbox.endpoint_version

-- name: without_public_url
-- Endpoints that a former version stored, or a move.
SELECT number FROM cdc_outbox.endpoint WHERE public_url IS NULL

-- name: set_public_url
UPDATE cdc_outbox.endpoint SET public_url = :public_url WHERE number = :number
