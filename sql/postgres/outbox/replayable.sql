-- Finished deliveries that may be sent again, oldest events first; $where holds fixed terms with named parameters.
SELECT delivery.event, delivery.id, octet_length(event.payload) = 0
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
WHERE delivery.state >= 2 AND endpoint.removed_at IS NULL AND $where
ORDER BY delivery.event, delivery.id
LIMIT %(limit)s
