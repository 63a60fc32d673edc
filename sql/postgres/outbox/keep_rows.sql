-- Rows as they were seen, in the place of what was kept of them.
INSERT INTO cdc_outbox.kept_row (source, table_name, key, digest, content)
SELECT %(source)s, %(table)s, key, digest, content
FROM unnest(%(keys)s::bytea[], %(digests)s::bytea[], %(contents)s::bytea[]) AS given (key, digest, content)
ON CONFLICT (source, table_name, key) DO UPDATE SET digest = excluded.digest, content = excluded.content
