-- Unfinished deliveries of a merged lane join the other one; ids keep their order.  The endpoints that have any.
UPDATE cdc_outbox.delivery SET lane = %(into)s
FROM cdc_outbox.endpoint
WHERE endpoint.removed_at IS NULL
  AND delivery.endpoint = endpoint.number AND delivery.lane = %(lane)s AND delivery.state < 2
RETURNING delivery.endpoint
