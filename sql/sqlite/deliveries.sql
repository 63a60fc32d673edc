-- Deliveries as the log shows them, those of the newest events first.  $first and $second are event and delivery, the one
-- to begin with first; $sequence is the event's, as that one has it; $where holds fixed terms with named parameters.
SELECT delivery.id, endpoint.id, event.id, event.name, event.record, event.source, delivery.state,
       delivery.worker IS NOT NULL, delivery.attempts, delivery.due, delivery.created_at, delivery.finished_at,
       attempt.status, attempt.error, length(event.payload) = 0, event.sequence
FROM $first
CROSS JOIN $second
CROSS JOIN endpoint
LEFT JOIN attempt ON attempt.id = (SELECT MAX(id) FROM attempt WHERE attempt.delivery = delivery.id)
WHERE delivery.event = event.sequence AND endpoint.number = delivery.endpoint AND $where
ORDER BY $sequence DESC, delivery.id DESC
LIMIT :limit
