-- Which of the ids in a JSON list are stored.
SELECT id FROM event WHERE id IN (SELECT value FROM json_each(?))
