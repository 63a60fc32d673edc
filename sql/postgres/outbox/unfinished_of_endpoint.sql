-- What of an endpoint's is not finished, with what its lane is made of.
SELECT delivery.id, event.source, event.record, event.id
FROM cdc_outbox.delivery JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE delivery.endpoint = %(endpoint)s AND delivery.state < 2
