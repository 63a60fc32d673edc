-- The newest events, in the order stored.
SELECT * FROM (
    SELECT sequence, id, name, source, record, time, payload FROM event ORDER BY sequence DESC LIMIT :limit
) ORDER BY sequence
