-- What sending a delivery again needs to know of it.
SELECT delivery.id, delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL,
       endpoint.delivery_order, length(event.payload) = 0, event.id
FROM delivery
JOIN event ON event.sequence = delivery.event
JOIN endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = ?
