-- Gives back every lease of a worker.  A lease that is still held has no attempt record (the record ends it), so its
-- attempt is uncounted.
UPDATE delivery SET worker = NULL, due = ?, attempts = attempts - 1 WHERE worker = ?
