-- Deliveries (a JSON list of ids) whose attempts are gone.
DELETE FROM delivery WHERE id IN (SELECT value FROM json_each(?))
