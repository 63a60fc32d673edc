-- Deliveries of an endpoint that are due later than anything makes them (a clock was wrong), due now. Not those that this
-- worker has on their way.
UPDATE delivery SET due = :now
WHERE endpoint = (SELECT number FROM endpoint WHERE id = :endpoint) AND state = 1 AND due > :latest
    AND (worker IS NULL OR worker <> :worker)
