-- `retriable.sql` for a JSON list of ids.
SELECT delivery.id, delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL,
       endpoint.delivery_order, length(event.payload) = 0, event.id
FROM json_each(?) AS given
CROSS JOIN delivery ON delivery.id = given.value
CROSS JOIN event ON event.sequence = delivery.event
CROSS JOIN endpoint ON endpoint.number = delivery.endpoint
