-- Events in the order stored; $where holds fixed terms with named parameters.
SELECT event.sequence, event.id, event.name, event.source, event.record, event."time", event.payload
FROM cdc_outbox.event
WHERE $where
ORDER BY event.sequence
LIMIT %(limit)s
