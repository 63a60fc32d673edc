-- name: position
SELECT position FROM cdc_outbox.source_position WHERE source = :source

-- name: states
-- The small states of a source.
SELECT name, value FROM cdc_outbox.source_state WHERE source = :source

-- name: last_event
SELECT COALESCE(max(sequence), 0) FROM cdc_outbox.event

-- name: last_delivery
SELECT COALESCE(max(id), 0) FROM cdc_outbox.delivery
