-- The endpoint of a delivery whose attempt failed fails since then, unless it did before.
UPDATE endpoint SET failing_since = ?
WHERE failing_since IS NULL AND number = (SELECT endpoint FROM delivery WHERE id = ?)
