-- The attempts of a delivery, oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM attempt
JOIN delivery ON delivery.id = attempt.delivery
JOIN event ON event.sequence = delivery.event
WHERE attempt.delivery = ?
ORDER BY attempt.id
