-- Deliveries of events (a JSON list of sequences) that were finished before a moment; never the newest delivery.
SELECT delivery.id
FROM json_each(:events) AS given CROSS JOIN delivery ON delivery.event = given.value
WHERE delivery.state >= 2 AND delivery.finished_at < :before AND delivery.id < (SELECT MAX(id) FROM delivery)
