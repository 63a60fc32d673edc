-- Deliveries as the log shows them, newest first; $where holds fixed terms with named parameters.
SELECT delivery.id, endpoint.id, event.id, event.name, event.record, event.source, delivery.state,
       delivery.worker IS NOT NULL, delivery.attempts, delivery.due, delivery.created_at, delivery.finished_at,
       attempt.status, attempt.error
FROM delivery
JOIN event ON event.sequence = delivery.event
JOIN endpoint ON endpoint.number = delivery.endpoint
LEFT JOIN attempt ON attempt.id = (SELECT MAX(id) FROM attempt WHERE attempt.delivery = delivery.id)
WHERE $where
ORDER BY delivery.id DESC
LIMIT :limit
