-- Gives back every lease of a worker.  A lease that is still held has no attempt record (the record ends it), so its
-- attempt is uncounted.
UPDATE cdc_outbox.delivery SET worker = NULL, due = %(now)s, attempts = attempts - 1
WHERE state = 1 AND worker = %(worker)s
RETURNING endpoint, lane
