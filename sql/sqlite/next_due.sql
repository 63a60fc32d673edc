-- The earliest moment at which a delivery of an enabled endpoint may be leased; ?: ids of endpoints that do not count.
SELECT MIN((SELECT MIN(due) FROM delivery WHERE delivery.endpoint = endpoint.number AND delivery.state = 1))
FROM endpoint
WHERE enabled AND removed_at IS NULL AND id NOT IN (SELECT value FROM json_each(?))
