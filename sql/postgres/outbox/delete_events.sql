-- Those of the events that have no delivery.
DELETE FROM cdc_outbox.event
WHERE sequence = ANY (%(events)s::bigint[])
  AND NOT EXISTS (SELECT FROM cdc_outbox.delivery WHERE delivery.event = event.sequence OFFSET 0)
