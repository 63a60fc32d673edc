-- Takes deliveries (a JSON list of ids) until `due`; their attempts count from here.
UPDATE delivery SET worker = ?, due = ?, attempts = attempts + 1 WHERE id IN (SELECT value FROM json_each(?))
