-- Kept keys of a table and their digests, behind one key and up to another, in order.
SELECT key, digest FROM cdc_outbox.kept_row
WHERE source = %(source)s AND table_name = %(table)s
  AND key > %(after)s::bytea AND (key <= %(until)s::bytea OR %(until)s::bytea IS NULL)
ORDER BY key LIMIT %(limit)s
