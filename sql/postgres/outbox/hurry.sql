-- A delivery that waits for its next attempt, due now.
UPDATE cdc_outbox.delivery SET due = least(due, %(now)s) WHERE id = %(id)s AND state = 1 AND worker IS NULL
RETURNING id
