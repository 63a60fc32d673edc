-- The attempts of deliveries, of each the oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS given (id, n)
JOIN cdc_outbox.delivery ON delivery.id = given.id
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.attempt ON attempt.delivery = given.id
ORDER BY given.n, attempt.id
