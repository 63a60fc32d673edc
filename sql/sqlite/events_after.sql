-- Events behind a sequence, in the order stored.
SELECT sequence, id, name, source, record, time, payload FROM event
WHERE sequence > :after AND (:pattern IS NULL OR name GLOB :pattern)
ORDER BY sequence
LIMIT :limit
