-- Deliveries of an endpoint that wait for others and would be due later than anything makes them, due now: each would
-- wait for the next search when it is its turn.  (`state < 2` admits the partial index.)
UPDATE cdc_outbox.delivery SET due = %(now)s
WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = %(endpoint)s) AND state < 2 AND state = 0
    AND due > %(latest)s
