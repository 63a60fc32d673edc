-- Deliveries by endpoint and state, of endpoints that were not removed.  State 5 are the leased among the active ones.
SELECT endpoint.id, counted.state, counted.deliveries
FROM cdc_outbox.endpoint
LEFT JOIN LATERAL (
    SELECT state, count(*) AS deliveries FROM cdc_outbox.delivery
    WHERE delivery.endpoint = endpoint.number AND delivery.state < 2
    GROUP BY state
    UNION ALL
    SELECT 5, count(*) FROM cdc_outbox.delivery
    WHERE delivery.endpoint = endpoint.number AND delivery.state = 1 AND worker IS NOT NULL
    UNION ALL
    SELECT state, sum(deliveries)::bigint FROM cdc_outbox.finished_count
    WHERE finished_count.endpoint = endpoint.number
    GROUP BY state
) AS counted ON true
WHERE endpoint.removed_at IS NULL
ORDER BY endpoint.created_at, endpoint.number
