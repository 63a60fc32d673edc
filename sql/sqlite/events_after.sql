-- Events behind a sequence, in the order stored.
SELECT sequence, id, name, source, record, time, payload FROM event
WHERE sequence > :after
ORDER BY sequence
LIMIT :limit
