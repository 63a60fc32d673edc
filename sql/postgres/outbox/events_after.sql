-- Events behind a sequence, in the order stored.
SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event
WHERE sequence > %(after)s AND (%(pattern)s::text IS NULL OR name LIKE %(pattern)s)
ORDER BY sequence
LIMIT %(limit)s
