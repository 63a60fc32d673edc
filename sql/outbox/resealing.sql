-- Rows that former versions stored, in the form of today (`cdc.outbox.resealing`).

-- name: resealed
SELECT part, place FROM cdc_outbox.resealing

-- name: set_resealed
INSERT INTO cdc_outbox.resealing (part, place) VALUES (:part, :place)
ON CONFLICT (part) DO UPDATE SET place = excluded.place

-- name: attempts_after
SELECT id, url, error, answer FROM cdc_outbox.attempt WHERE id > :after ORDER BY id LIMIT :limit

-- name: alerts_after
-- Events of these names after a sequence of which no delivery is unfinished.
SELECT event.sequence, event.payload FROM cdc_outbox.event
WHERE event.name = ANY (:names::text[]) AND event.source = :source AND event.sequence > :after
  AND NOT EXISTS (SELECT 1 FROM cdc_outbox.delivery WHERE delivery.event = event.sequence AND delivery.state < 2)
ORDER BY event.sequence
LIMIT :limit

-- name: rewrite_payload
UPDATE cdc_outbox.event SET payload = :payload WHERE sequence = :sequence
