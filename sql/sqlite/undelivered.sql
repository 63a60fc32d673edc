-- Which of the events in a JSON list can still get their delivery to an endpoint, in order, with what a lane is made of.
SELECT event.sequence, event.source, event.record, event.id, endpoint.delivery_order
FROM json_each(:events) AS given
CROSS JOIN event ON event.sequence = given.value
CROSS JOIN endpoint ON endpoint.number = :endpoint
WHERE endpoint.removed_at IS NULL AND length(event.payload) > 0
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.sequence AND delivery.endpoint = :endpoint)
ORDER BY given.key
