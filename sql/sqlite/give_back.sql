-- Gives back a lease on which nothing was sent: its attempt is uncounted.
UPDATE delivery SET worker = NULL, due = ?, attempts = attempts - 1 WHERE id = ?
