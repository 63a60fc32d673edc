-- Since when endpoints fail: those that are well fail no longer; of the others the first failure counts.
-- Locked in the order of numbers, and only where something changes.
UPDATE cdc_outbox.endpoint SET failing_since = changed.since
FROM (
    SELECT endpoint.number, failing.since
    FROM cdc_outbox.endpoint
    LEFT JOIN unnest(%(failing)s::bigint[], %(since)s::timestamptz[]) AS failing (number, since)
        ON failing.number = endpoint.number
    WHERE (endpoint.failing_since IS NOT NULL AND endpoint.number = ANY (%(well)s::bigint[]))
       OR (endpoint.failing_since IS NULL AND failing.since IS NOT NULL)
    ORDER BY endpoint.number
    FOR UPDATE OF endpoint
) AS changed
WHERE endpoint.number = changed.number
