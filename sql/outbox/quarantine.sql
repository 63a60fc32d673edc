-- name: insert_quarantined
-- A change that was skipped; one that is known keeps its first reason.
INSERT INTO cdc_outbox.quarantine
    (id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after)
VALUES
    (:id, :found_at, :source, :table_name, :operation, :row_key, :token, :changed_at, :reason,
     :image_before, :image_after)
ON CONFLICT (id) DO NOTHING

-- name: find_quarantined
-- One change that was skipped.
SELECT id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after, backfill
FROM cdc_outbox.quarantine
WHERE id = :id

-- name: quarantined
-- Changes that were skipped, newest first; of a source, or behind the one that is named.
SELECT id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after, backfill
FROM cdc_outbox.quarantine
WHERE (:source::text IS NULL OR source = :source::text)
  AND (:before::text IS NULL
       OR (found_at, id) < (SELECT last.found_at, last.id FROM cdc_outbox.quarantine AS last WHERE last.id = :before::text))
ORDER BY found_at DESC, id DESC
LIMIT :limit

-- name: count_quarantined
-- Changes in quarantine by source.
SELECT source, count(*) FROM cdc_outbox.quarantine GROUP BY source

-- name: set_reread
-- The backfill that reads the row again.
UPDATE cdc_outbox.quarantine SET backfill = :backfill WHERE id = :id

-- name: remove_quarantined
DELETE FROM cdc_outbox.quarantine WHERE id = :id

-- name: forget_quarantined
DELETE FROM cdc_outbox.quarantine WHERE found_at < :before
