-- Rows that former versions stored, in the form of today (`cdc.outbox.upkeep`).

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

-- name: payloads_after
SELECT sequence, payload FROM cdc_outbox.event WHERE sequence > :after ORDER BY sequence LIMIT :limit

-- name: forget_labels
-- Sealed events are not found by code or name.
UPDATE cdc_outbox.event SET label_code = NULL, label_name = NULL WHERE sequence = ANY (:sequences::bigint[])

-- name: quarantined_after
SELECT id, row_key, image_before, image_after FROM cdc_outbox.quarantine WHERE id > :after ORDER BY id LIMIT :limit

-- name: rewrite_quarantined
UPDATE cdc_outbox.quarantine SET row_key = :row_key, image_before = :image_before, image_after = :image_after
WHERE id = :id

-- name: kept_after
SELECT source, table_name, key, content FROM cdc_outbox.kept_row
WHERE (source, table_name, key) > (:source, :table, :key::bytea)
ORDER BY source, table_name, key
LIMIT :limit

-- name: rewrite_kept
UPDATE cdc_outbox.kept_row SET content = :content WHERE source = :source AND table_name = :table AND key = :key::bytea

-- name: forget_resealed
-- What was noted of former keys.
DELETE FROM cdc_outbox.resealing WHERE part LIKE :former
