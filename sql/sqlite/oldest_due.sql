-- Of each enabled endpoint with something due: since when the oldest is. One look at the index for each.
SELECT id, oldest
FROM (
    SELECT id, (SELECT MIN(due) FROM delivery WHERE delivery.endpoint = endpoint.number AND delivery.state = 1) AS oldest
    FROM endpoint
    WHERE enabled AND removed_at IS NULL
)
WHERE oldest <= ?
