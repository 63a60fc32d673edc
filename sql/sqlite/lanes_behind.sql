-- The lanes of deliveries (a JSON list of ids) in which others wait.  (`state < 2` admits the partial index.)
SELECT delivery.endpoint, delivery.lane
FROM json_each(?) AS finished CROSS JOIN delivery ON delivery.id = finished.value
WHERE EXISTS (
    SELECT 1 FROM delivery AS waiting
    WHERE waiting.endpoint = delivery.endpoint AND waiting.lane = delivery.lane AND waiting.state < 2 AND waiting.state = 0
)
