-- Events in the order stored, and what became of each at one endpoint; $where holds fixed terms with named parameters.
SELECT event.sequence, delivery.id, length(event.payload) = 0, delivery.state,
       event.id, event.name, event.source, event.record, event.time,
       CASE WHEN delivery.id IS NULL THEN event.payload END
FROM event
LEFT JOIN delivery ON delivery.event = event.sequence AND delivery.endpoint = :endpoint
WHERE $where
ORDER BY event.sequence
LIMIT :limit
