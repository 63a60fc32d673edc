-- name: delete_attempts
-- All attempts of deliveries.
DELETE FROM cdc_outbox.attempt WHERE delivery = ANY (:ids::bigint[])

-- name: sequences
-- The sequences of events, by their ids.
SELECT id, sequence FROM cdc_outbox.event WHERE id = ANY (:ids::text[])
