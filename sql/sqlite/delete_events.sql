-- Those of the events (a JSON list of sequences) that have no delivery.
DELETE FROM event
WHERE sequence IN (SELECT value FROM json_each(?))
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.sequence)
