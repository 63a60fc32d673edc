-- Events in the order stored, and what became of each at one endpoint; $where holds fixed terms with named parameters.
SELECT event.sequence, delivery.id, octet_length(event.payload) = 0, delivery.state,
       event.id, event.name, event.source, event.record, event."time",
       CASE WHEN delivery.id IS NULL THEN event.payload END
FROM cdc_outbox.event
LEFT JOIN cdc_outbox.delivery ON delivery.event = event.sequence AND delivery.endpoint = %(subscriber)s
WHERE $where
ORDER BY event.sequence
LIMIT %(limit)s
