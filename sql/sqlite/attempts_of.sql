-- The attempts of deliveries (a JSON list of ids), of each the oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM json_each(?) AS given
CROSS JOIN delivery ON delivery.id = given.value
CROSS JOIN event ON event.sequence = delivery.event
CROSS JOIN attempt ON attempt.delivery = delivery.id
ORDER BY given.key, attempt.id
