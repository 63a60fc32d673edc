-- All attempts of deliveries (a JSON list of ids).
DELETE FROM attempt WHERE delivery IN (SELECT value FROM json_each(?))
