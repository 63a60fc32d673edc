-- The newest events, in the order stored.
SELECT * FROM (
    SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event
    ORDER BY sequence DESC
    LIMIT %(limit)s
) AS newest
ORDER BY sequence
