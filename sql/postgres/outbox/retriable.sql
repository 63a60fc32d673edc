-- What a retry by hand needs to know of a delivery.
SELECT delivery.state, delivery.endpoint, event.source, event.record, endpoint.removed_at IS NOT NULL,
       endpoint.delivery_order, event.id
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.id = %(id)s
