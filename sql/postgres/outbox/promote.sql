-- The oldest waiting delivery of each lane goes, unless one is active.  ("state > 0": see hold.sql.)
UPDATE cdc_outbox.delivery SET state = 1
FROM unnest(%(endpoints)s::bigint[], %(lanes)s::bigint[]) AS given (endpoint, lane)
CROSS JOIN LATERAL (
    SELECT waiting.id FROM cdc_outbox.delivery AS waiting
    WHERE waiting.endpoint = given.endpoint AND waiting.lane = given.lane AND waiting.state < 2 AND waiting.state = 0
    ORDER BY waiting.event
    LIMIT 1
) AS oldest
LEFT JOIN LATERAL (
    SELECT true AS yes FROM cdc_outbox.delivery AS active
    WHERE active.endpoint = given.endpoint AND active.lane = given.lane AND active.state < 2 AND active.state > 0
    LIMIT 1
) AS busy ON true
WHERE delivery.id = oldest.id AND busy.yes IS NULL
