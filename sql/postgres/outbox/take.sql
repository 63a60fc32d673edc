-- Leases the one delivery of an event that nobody has seen yet, if it is active.
UPDATE cdc_outbox.delivery SET worker = %(worker)s, due = %(until)s, attempts = attempts + 1
WHERE event = %(event)s AND state = 1
RETURNING id
