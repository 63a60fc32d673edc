-- What of an endpoint's is not finished, with what its lane is made of.
SELECT delivery.id, event.source, event.record, event.id
FROM delivery JOIN event ON event.sequence = delivery.event
WHERE delivery.endpoint = ? AND delivery.state < 2
