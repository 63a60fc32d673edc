-- A kept row by its key.
SELECT key, digest, content FROM kept_row WHERE source = ? AND table_name = ? AND key = ?
