-- The attempts of a delivery, oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM cdc_outbox.attempt
JOIN cdc_outbox.delivery ON delivery.id = attempt.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE attempt.delivery = %(id)s
ORDER BY attempt.id
