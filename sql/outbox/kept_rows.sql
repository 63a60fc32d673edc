-- name: kept_digests
-- Kept keys of a table and their digests, behind one key and up to another, in order.
SELECT key, digest FROM cdc_outbox.kept_row
WHERE source = :source AND table_name = :table
  AND key > :after::bytea AND (key <= :until::bytea OR :until::bytea IS NULL)
ORDER BY key LIMIT :limit

-- name: forget_kept_rows
-- All rows that are kept of a table.
DELETE FROM cdc_outbox.kept_row WHERE source = :source AND table_name = :table
