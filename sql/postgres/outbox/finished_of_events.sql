-- Deliveries of events that were finished before a moment; never the newest delivery.
SELECT delivery.id FROM cdc_outbox.delivery
WHERE delivery.event = ANY (%(events)s::bigint[]) AND delivery.state >= 2 AND delivery.finished_at < %(before)s
  AND delivery.id <> (SELECT max(newest.id) FROM cdc_outbox.delivery AS newest)
