-- Which of the events can still get their delivery to an endpoint, in order, with what a lane is made of.
SELECT event.sequence, event.source, event.record, event.id, endpoint.delivery_order
FROM unnest(%(events)s::bigint[]) WITH ORDINALITY AS given (sequence, n)
JOIN cdc_outbox.event ON event.sequence = given.sequence
JOIN cdc_outbox.endpoint ON endpoint.number = %(endpoint)s
LEFT JOIN cdc_outbox.delivery ON delivery.event = given.sequence AND delivery.endpoint = %(endpoint)s
WHERE endpoint.removed_at IS NULL AND octet_length(event.payload) > 0 AND delivery.id IS NULL
ORDER BY given.n
