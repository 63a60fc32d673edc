-- Deliveries of one endpoint that may be leased, oldest due first; read only as far as the caller needs.
SELECT delivery.due, delivery.id, delivery.attempts, event.id, event.name, event.record, event.payload
FROM delivery JOIN event ON event.sequence = delivery.event
WHERE delivery.endpoint = ? AND delivery.state = 1 AND delivery.due <= ?
ORDER BY delivery.due, delivery.id
LIMIT ?
