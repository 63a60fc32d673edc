-- What endpoints answered to events (a JSON list of sequences).
UPDATE attempt SET answer = ''
WHERE answer <> '' AND delivery IN (SELECT id FROM delivery WHERE event IN (SELECT value FROM json_each(?)))
