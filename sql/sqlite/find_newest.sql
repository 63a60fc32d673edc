-- Events, the newest first; $where holds fixed terms with named parameters.
SELECT event.sequence, event.id, event.name, event.source, event.record, event.time, event.payload
FROM event
WHERE $where
ORDER BY event.sequence DESC
LIMIT :limit
