-- Of each enabled endpoint with something due: since when the oldest is.  One look at the index for each.
SELECT endpoint.id, oldest.due
FROM cdc_outbox.endpoint
CROSS JOIN LATERAL (
    SELECT delivery.due FROM cdc_outbox.delivery
    WHERE delivery.endpoint = endpoint.number AND delivery.state = 1 AND delivery.due <= %(now)s
    ORDER BY delivery.due
    LIMIT 1
) AS oldest
WHERE endpoint.enabled AND endpoint.removed_at IS NULL
