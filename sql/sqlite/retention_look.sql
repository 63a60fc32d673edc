-- Events behind a sequence, oldest first, as retention looks at them: whether the payload is there, whether a delivery is
-- unfinished, when the newest finished one, and the newest dead letter, was finished.  The newest event is left out.
SELECT sequence, time, length(payload) > 0,
       EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.sequence AND delivery.state < 2),
       (SELECT MAX(finished_at) FROM delivery WHERE delivery.event = event.sequence AND delivery.state >= 2),
       (SELECT MAX(finished_at) FROM delivery WHERE delivery.event = event.sequence AND delivery.state = 3)
FROM event
WHERE sequence > :after AND sequence < :newest
ORDER BY sequence
LIMIT :limit
