-- name: set_position
-- Where a source is.  Changes no row where fenced and another position than the expected one is stored.
INSERT INTO cdc_outbox.source_position AS stored (source, position)
SELECT :source, :position
WHERE NOT :fenced
    OR :expected::text IS NULL
    OR EXISTS (SELECT 1 FROM cdc_outbox.source_position WHERE source = :source)
ON CONFLICT (source) DO UPDATE SET position = excluded.position
WHERE NOT :fenced OR stored.position = :expected

-- name: position
SELECT position FROM cdc_outbox.source_position WHERE source = :source

-- name: states
-- The small states of a source.
SELECT name, value FROM cdc_outbox.source_state WHERE source = :source

-- name: last_event
SELECT COALESCE(max(sequence), 0) FROM cdc_outbox.event

-- name: last_delivery
SELECT COALESCE(max(id), 0) FROM cdc_outbox.delivery
