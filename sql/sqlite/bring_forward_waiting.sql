-- Deliveries of an endpoint that wait for others and would be due later than anything makes them, due now: each would
-- wait for the next search when it is its turn.  (`state < 2` admits the partial index.)
UPDATE delivery SET due = :now
WHERE endpoint = (SELECT number FROM endpoint WHERE id = :endpoint) AND state < 2 AND state = 0 AND due > :latest
