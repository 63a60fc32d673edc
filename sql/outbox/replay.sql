-- name: lanes_behind
-- Where deliveries that were just made stand in line.
SELECT DISTINCT endpoint, lane FROM cdc_outbox.delivery WHERE id > :last

-- name: hurry
-- A delivery that waits for its next attempt is due now.
UPDATE cdc_outbox.delivery SET due = CASE WHEN due > :now::timestamptz THEN :now::timestamptz ELSE due END
WHERE id = :id AND state = 1 AND worker IS NULL

-- name: later
-- How many deliveries of an endpoint wait for their next attempt, counted up to :limit.
SELECT count(*)
FROM (
    SELECT 1 FROM cdc_outbox.delivery
    WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint AND removed_at IS NULL)
      AND state = 1 AND due > :now AND worker IS NULL
    LIMIT :limit
) AS found
