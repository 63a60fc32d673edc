-- Deliveries by endpoint and state, of endpoints that were not removed.  State 5 are the leased among the active ones.
SELECT endpoint.id, counted.state, counted.deliveries
FROM endpoint
LEFT JOIN (
    SELECT endpoint, state, COUNT(*) AS deliveries FROM delivery WHERE state < 2 GROUP BY endpoint, state
    UNION ALL
    SELECT endpoint, 5, COUNT(*) FROM delivery WHERE worker IS NOT NULL GROUP BY endpoint
    UNION ALL
    SELECT endpoint, state, deliveries FROM finished_count
) AS counted ON counted.endpoint = endpoint.number
WHERE endpoint.removed_at IS NULL
ORDER BY endpoint.created_at, endpoint.number
