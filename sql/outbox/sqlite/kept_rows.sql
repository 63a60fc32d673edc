-- name: keep_row
-- A row as it was seen, in the place of what was kept of it.
INSERT INTO kept_row (source, table_name, key, digest, content) VALUES (:source, :table, :key, :digest, :content)
ON CONFLICT (source, table_name, key) DO UPDATE SET digest = excluded.digest, content = excluded.content

-- name: kept_row
-- A kept row by its key.
SELECT key, digest, content FROM kept_row WHERE source = :source AND table_name = :table AND key = :key

-- name: forget_kept_row
-- A row that is gone.
DELETE FROM kept_row WHERE source = :source AND table_name = :table AND key = :key
