-- Kept rows by their keys.
SELECT key, digest, content FROM cdc_outbox.kept_row
WHERE source = %(source)s AND table_name = %(table)s AND key = ANY (%(keys)s::bytea[])
