-- The earliest moment at which a delivery of an enabled endpoint may be leased; %(without)s: ids of endpoints that do not
-- count.
SELECT min(earliest.due)
FROM cdc_outbox.endpoint
CROSS JOIN LATERAL (
    SELECT delivery.due FROM cdc_outbox.delivery
    WHERE delivery.endpoint = endpoint.number AND delivery.state = 1
    ORDER BY delivery.due
    LIMIT 1
) AS earliest
WHERE endpoint.enabled AND endpoint.removed_at IS NULL AND endpoint.id <> ALL (%(without)s::text[])
