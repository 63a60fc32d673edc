-- name: keep_row
-- Rows as they were seen, in the place of what was kept of them.
INSERT INTO cdc_outbox.kept_row (source, table_name, key, digest, content)
SELECT :source, :table, key, digest, content
FROM unnest(:key::bytea[], :digest::bytea[], :content::bytea[]) AS given (key, digest, content)
ON CONFLICT (source, table_name, key) DO UPDATE SET digest = excluded.digest, content = excluded.content

-- name: kept_row
-- Kept rows by their keys.
SELECT key, digest, content FROM cdc_outbox.kept_row
WHERE source = :source AND table_name = :table AND key = ANY (:key::bytea[])

-- name: forget_kept_row
-- Rows that are gone.
DELETE FROM cdc_outbox.kept_row WHERE source = :source AND table_name = :table AND key = ANY (:key::bytea[])
