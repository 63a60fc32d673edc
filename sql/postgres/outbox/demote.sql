-- Before promote.sql: pending deliveries of lanes wait again (more than the oldest may be pending after a merge, or an
-- older one was retried).  "due" stays, so a retry keeps its time.  One that is leased this moment stays leased.
-- ("state > 0": see hold.sql.)
UPDATE cdc_outbox.delivery SET state = 0
FROM unnest(%(endpoints)s::bigint[], %(lanes)s::bigint[]) AS given (endpoint, lane)
WHERE delivery.endpoint = given.endpoint AND delivery.lane = given.lane AND delivery.state < 2 AND delivery.state > 0
  AND delivery.worker IS NULL
