-- name: deliveries
-- Deliveries as the log shows them, those of the newest events first; $where holds fixed terms with named parameters.
-- Which ones is found out first: what else is shown is fetched for these alone.
SELECT delivery.id, endpoint.id, event.id, event.name, event.record, event.source, delivery.state,
       delivery.worker IS NOT NULL, delivery.attempts, delivery.due, delivery.created_at, delivery.finished_at,
       last.status, last.error, octet_length(event.payload) = 0, event.sequence
FROM (
    SELECT delivery.id
    FROM cdc_outbox.delivery
    JOIN cdc_outbox.event ON event.sequence = delivery.event
    WHERE $where
    ORDER BY delivery.event DESC, delivery.id DESC
    LIMIT :limit
) AS found
JOIN cdc_outbox.delivery ON delivery.id = found.id
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.endpoint ON endpoint.number = delivery.endpoint
LEFT JOIN LATERAL (
    SELECT attempt.status, attempt.error FROM cdc_outbox.attempt
    WHERE attempt.delivery = delivery.id
    ORDER BY attempt.id DESC
    LIMIT 1
) AS last ON true
ORDER BY delivery.event DESC, delivery.id DESC

-- name: attempts_of
-- The attempts of deliveries, of each the oldest first.
SELECT delivery.id, attempt.number, event.id, event.name, attempt.url, attempt.status, attempt.started_at,
       attempt.duration, attempt.error, attempt.answer
FROM unnest(:ids::bigint[]) WITH ORDINALITY AS given (id, n)
JOIN cdc_outbox.delivery ON delivery.id = given.id
JOIN cdc_outbox.event ON event.sequence = delivery.event
JOIN cdc_outbox.attempt ON attempt.delivery = given.id
ORDER BY given.n, attempt.id

-- name: newest_event
-- The newest event of each record, of some sources if any are given.
SELECT newest.sequence, newest.id, newest.name, newest.source, newest.record, newest."time", newest.payload
FROM unnest(:record::text[]) AS given (record)
CROSS JOIN LATERAL (
    SELECT sequence, id, name, source, event.record, "time", payload FROM cdc_outbox.event
    WHERE event.record = given.record AND (:sources::text[] IS NULL OR event.source = ANY (:sources::text[]))
    ORDER BY sequence DESC
    LIMIT 1
) AS newest

-- name: counts
-- Deliveries by endpoint and state, of endpoints that were not removed.  State 5 are the leased among the active ones.
-- Of each endpoint only :most unfinished ones are looked at.  :ids: of these only; NULL: of all.
SELECT endpoint.id, counted.state, counted.deliveries
FROM cdc_outbox.endpoint
LEFT JOIN LATERAL (
    SELECT unfinished.state, unfinished.deliveries
    FROM (
        SELECT count(*) - sum(looked_at.state) AS waiting, sum(looked_at.state) AS active, count(looked_at.worker) AS leased
        FROM (
            SELECT delivery.state, delivery.worker FROM cdc_outbox.delivery
            WHERE delivery.endpoint = endpoint.number AND delivery.state < 2
            LIMIT :most
        ) AS looked_at
    ) AS found
    CROSS JOIN LATERAL (VALUES (0, waiting), (1, active), (5, leased)) AS unfinished (state, deliveries)
    WHERE unfinished.deliveries > 0
    UNION ALL
    SELECT state, sum(deliveries)::bigint FROM cdc_outbox.finished_count
    WHERE finished_count.endpoint = endpoint.number
    GROUP BY state
) AS counted ON true
WHERE endpoint.removed_at IS NULL AND (:ids::text[] IS NULL OR endpoint.id = ANY (:ids::text[]))
ORDER BY endpoint.created_at, endpoint.number
