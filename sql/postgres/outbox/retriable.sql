-- What sending deliveries again needs to know of them.
SELECT delivery.id, delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL,
       endpoint.delivery_order, octet_length(event.payload) = 0, event.id
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = ANY (%(ids)s::bigint[])
