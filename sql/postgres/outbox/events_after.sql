-- Events behind a sequence, in the order stored.
SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event
WHERE sequence > %(after)s
ORDER BY sequence
LIMIT %(limit)s
