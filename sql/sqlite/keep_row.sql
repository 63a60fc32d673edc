-- A row as it was seen, in the place of what was kept of it.
INSERT INTO kept_row (source, table_name, key, digest, content) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, table_name, key) DO UPDATE SET digest = excluded.digest, content = excluded.content
