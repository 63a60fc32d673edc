-- One change that was skipped.
SELECT id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after, backfill
FROM quarantine
WHERE id = :id
