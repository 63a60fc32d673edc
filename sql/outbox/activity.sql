-- name: forget_activity
-- Statistics before a time.
DELETE FROM cdc_outbox.activity WHERE period_start < :before

-- name: activity_endpoints
-- The endpoints with the most attempts between two times.
SELECT endpoint.id, top.delivered, top.failed, top.seconds
FROM (
    SELECT endpoint, CAST(SUM(delivered) AS bigint) AS delivered, CAST(SUM(failed) AS bigint) AS failed,
           SUM(seconds) AS seconds
    FROM cdc_outbox.activity
    WHERE period_start >= :since AND period_start < :before
    GROUP BY endpoint
    ORDER BY SUM(delivered + failed) DESC, endpoint
    LIMIT :limit
) AS top
JOIN cdc_outbox.endpoint ON endpoint.number = top.endpoint
ORDER BY top.delivered + top.failed DESC, top.endpoint

-- name: activity_sources
-- The sources with the most attempts between two times.
SELECT source, CAST(SUM(delivered) AS bigint), CAST(SUM(failed) AS bigint), SUM(seconds)
FROM cdc_outbox.activity
WHERE period_start >= :since AND period_start < :before
GROUP BY source
ORDER BY SUM(delivered + failed) DESC, source
LIMIT :limit
