-- The sequences of events, by their ids (a JSON list).
SELECT id, sequence FROM event WHERE id IN (SELECT value FROM json_each(?))
