-- The endpoints of delivered deliveries (a JSON list of ids) fail no longer.
UPDATE endpoint SET failing_since = NULL
WHERE failing_since IS NOT NULL
  AND number IN (SELECT endpoint FROM delivery WHERE id IN (SELECT value FROM json_each(?)))
