-- Takes due deliveries of enabled endpoints until %(until)s, oldest due first; their attempts count from here.
-- What another process is taking this moment is passed over.  %(rooms)s: endpoint id → how many at most.
WITH head AS MATERIALIZED (
    SELECT head.id, head.due, endpoint.id AS endpoint_id
    FROM cdc_outbox.endpoint
    CROSS JOIN LATERAL (
        SELECT delivery.id, delivery.due FROM cdc_outbox.delivery
        WHERE delivery.endpoint = endpoint.number AND delivery.state = 1 AND delivery.due <= %(now)s
        ORDER BY delivery.due, delivery.id
        LIMIT GREATEST(0, LEAST(%(limit)s, COALESCE((%(rooms)s::jsonb ->> endpoint.id)::integer, %(limit)s)))
        FOR UPDATE SKIP LOCKED
    ) AS head
    WHERE endpoint.enabled AND endpoint.removed_at IS NULL
    ORDER BY head.due, head.id
    LIMIT %(limit)s
),
taken AS (
    UPDATE cdc_outbox.delivery SET worker = %(worker)s, due = %(until)s, attempts = delivery.attempts + 1
    FROM head
    WHERE delivery.id = head.id
    RETURNING delivery.id, delivery.event, delivery.attempts, head.due, head.endpoint_id
)
SELECT taken.id, taken.endpoint_id, event.id, event.name, event.record, taken.attempts, event.payload
FROM taken
JOIN cdc_outbox.event ON event.sequence = taken.event
ORDER BY taken.due, taken.id
