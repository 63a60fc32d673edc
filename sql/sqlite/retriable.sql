-- What a retry by hand needs to know of a delivery.
SELECT delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL
FROM delivery
JOIN event ON event.sequence = delivery.event
JOIN endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = ?
