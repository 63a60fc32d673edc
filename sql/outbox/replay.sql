-- name: lanes_behind
-- Where deliveries that were just made stand in line.
SELECT DISTINCT endpoint, lane FROM cdc_outbox.delivery WHERE id > :last

-- name: hurry
-- A delivery that waits for its next attempt is due now.
UPDATE cdc_outbox.delivery SET due = CASE WHEN due > :now::timestamptz THEN :now::timestamptz ELSE due END
WHERE id = :id AND state = 1 AND worker IS NULL
