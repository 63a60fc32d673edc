-- The oldest waiting delivery of a lane goes, unless one is active.  (`state < 2` admits the partial index.)
UPDATE delivery SET state = 1
WHERE id = (
    SELECT id FROM delivery WHERE endpoint = :endpoint AND lane = :lane AND state < 2 AND state = 0
    ORDER BY event LIMIT 1
)
AND NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = :endpoint AND lane = :lane AND state < 2 AND state = 1)
