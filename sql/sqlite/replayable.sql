-- Finished deliveries that may be sent again, oldest events first; the words are those of `deliveries.sql`.
SELECT event.sequence, delivery.id, length(event.payload) = 0
FROM $first
CROSS JOIN $second
CROSS JOIN endpoint
WHERE delivery.event = event.sequence AND endpoint.number = delivery.endpoint
  AND delivery.state >= 2 AND endpoint.removed_at IS NULL AND $where
ORDER BY $sequence, delivery.id
LIMIT :limit
