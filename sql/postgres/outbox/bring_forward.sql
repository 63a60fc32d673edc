-- Deliveries of an endpoint that are due later than anything makes them (a clock was wrong), due now. Not those that this
-- worker has on their way.
UPDATE cdc_outbox.delivery SET due = %(now)s
WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = %(endpoint)s) AND state = 1 AND due > %(latest)s
    AND (worker IS NULL OR worker <> %(worker)s)
RETURNING id
