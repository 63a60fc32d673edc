-- Behind finished deliveries (a JSON list of ids) the oldest waiting one of each lane goes, unless one is active.
-- (`state < 2` admits the partial index.)
UPDATE delivery SET state = 1
WHERE id IN (
    SELECT (
        SELECT waiting.id FROM delivery AS waiting
        WHERE waiting.endpoint = finished.endpoint AND waiting.lane = finished.lane
          AND waiting.state < 2 AND waiting.state = 0
        ORDER BY waiting.event LIMIT 1
    )
    FROM json_each(?) AS given CROSS JOIN delivery AS finished ON finished.id = given.value
    WHERE EXISTS (
        SELECT 1 FROM delivery AS other
        WHERE other.endpoint = finished.endpoint AND other.lane = finished.lane
          AND other.state < 2 AND other.state = 0
    )
    AND NOT EXISTS (
        SELECT 1 FROM delivery AS active
        WHERE active.endpoint = finished.endpoint AND active.lane = finished.lane
          AND active.state < 2 AND active.state = 1
    )
)
