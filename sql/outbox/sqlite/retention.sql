-- name: retention_look
-- Events behind a sequence, oldest first, as retention looks at them: whether the payload is there, whether a delivery is
-- unfinished, when the newest finished one, and the newest dead letter, was finished.  The newest event is left out.
SELECT sequence, time, length(payload) > 0,
       EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.sequence AND delivery.state < 2),
       (SELECT MAX(finished_at) FROM delivery WHERE delivery.event = event.sequence AND delivery.state >= 2) AS finished_at,
       (SELECT MAX(finished_at) FROM delivery WHERE delivery.event = event.sequence AND delivery.state = 3) AS dead_at
FROM event
WHERE sequence > :after AND sequence < :newest
ORDER BY sequence
LIMIT :limit

-- name: finished_of_events
-- Deliveries of events (a JSON list of sequences) that were finished before a moment; never the newest delivery.
SELECT delivery.id
FROM json_each(:events) AS given CROSS JOIN delivery ON delivery.event = given.value
WHERE delivery.state >= 2 AND delivery.finished_at < :before AND delivery.id < (SELECT MAX(id) FROM delivery)

-- name: delete_deliveries
-- Deliveries (a JSON list of ids) whose attempts are gone.
DELETE FROM delivery WHERE id IN (SELECT value FROM json_each(:ids))

-- name: delete_events
-- Those of the events (a JSON list of sequences) that have no delivery.
DELETE FROM event
WHERE sequence IN (SELECT value FROM json_each(:events))
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.sequence)

-- name: empty_answers
-- What endpoints answered to events (a JSON list of sequences).
UPDATE attempt SET answer = ''
WHERE answer <> '' AND delivery IN (SELECT id FROM delivery WHERE event IN (SELECT value FROM json_each(:events)))

-- name: empty_payloads
-- Payloads of events (a JSON list of sequences), for good.
UPDATE event SET payload = x'', label_code = NULL, label_name = NULL
WHERE sequence IN (SELECT value FROM json_each(:events)) AND length(payload) > 0

-- name: cancel_events
-- Ends every unfinished delivery of events (a JSON list of sequences); where they stood in line.
UPDATE delivery SET state = 4, worker = NULL, finished_at = :now
WHERE state < 2 AND event IN (SELECT value FROM json_each(:events))
RETURNING endpoint, lane
