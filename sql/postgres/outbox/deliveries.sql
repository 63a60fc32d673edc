-- Deliveries as the log shows them, those of the newest events first; $where holds fixed terms with named parameters.
-- Which ones is found out first: what else is shown is fetched for these alone.
SELECT delivery.id, endpoint.id, event.id, event.name, event.record, event.source, delivery.state,
       delivery.worker IS NOT NULL, delivery.attempts, delivery.due, delivery.created_at, delivery.finished_at,
       last.status, last.error, octet_length(event.payload) = 0, event.sequence
FROM (
    SELECT delivery.id
    FROM cdc_outbox.delivery
    JOIN cdc_outbox.event ON event.sequence = delivery.event
    WHERE $where
    ORDER BY delivery.event DESC, delivery.id DESC
    LIMIT %(limit)s
) AS found
JOIN cdc_outbox.delivery ON delivery.id = found.id
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
LEFT JOIN LATERAL (
    SELECT attempt.status, attempt.error FROM cdc_outbox.attempt
    WHERE attempt.delivery = delivery.id
    ORDER BY attempt.id DESC
    LIMIT 1
) AS last ON true
ORDER BY delivery.event DESC, delivery.id DESC
