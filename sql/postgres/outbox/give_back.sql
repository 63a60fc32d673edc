-- Gives back leases on which nothing was sent, as far as the worker still holds those that counted these attempts: they are
-- uncounted.  (Only what is leased has a worker; a condition on the state would admit the index by due time.)
UPDATE cdc_outbox.delivery SET worker = NULL, due = %(now)s, attempts = delivery.attempts - 1
FROM unnest(%(ids)s::bigint[], %(numbers)s::integer[]) AS given (id, number)
WHERE delivery.id = given.id AND delivery.worker = %(worker)s AND delivery.attempts = given.number
RETURNING delivery.endpoint, delivery.lane
