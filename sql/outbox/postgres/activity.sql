-- name: activity
-- Attempts in periods, by endpoint and source.
SELECT given.period_start, endpoint.id, counted.source, counted.delivered, counted.failed, counted.seconds
FROM unnest(:period_start::timestamptz[], :period_end::timestamptz[]) AS given (period_start, period_end)
CROSS JOIN LATERAL (
    SELECT activity.endpoint, activity.source, sum(activity.delivered)::bigint AS delivered,
           sum(activity.failed)::bigint AS failed, sum(activity.seconds) AS seconds
    FROM cdc_outbox.activity
    WHERE activity.period_start >= given.period_start AND activity.period_start < given.period_end
    GROUP BY activity.endpoint, activity.source
) AS counted
JOIN cdc_outbox.endpoint ON endpoint.number = counted.endpoint

-- name: activity_of
-- Attempts in periods for endpoints of these ids, by endpoint and source.
SELECT given.period_start, endpoint.id, counted.source, counted.delivered, counted.failed, counted.seconds
FROM unnest(:period_start::timestamptz[], :period_end::timestamptz[]) AS given (period_start, period_end)
CROSS JOIN cdc_outbox.endpoint
CROSS JOIN LATERAL (
    SELECT activity.source, sum(activity.delivered)::bigint AS delivered,
           sum(activity.failed)::bigint AS failed, sum(activity.seconds) AS seconds
    FROM cdc_outbox.activity
    WHERE activity.endpoint = endpoint.number
      AND activity.period_start >= given.period_start AND activity.period_start < given.period_end
    GROUP BY activity.source
) AS counted
WHERE endpoint.id = ANY (:ids::text[])

-- name: activity_source
-- Attempts in periods for one source, by endpoint.
SELECT given.period_start, endpoint.id, :source::text, counted.delivered, counted.failed, counted.seconds
FROM unnest(:period_start::timestamptz[], :period_end::timestamptz[]) AS given (period_start, period_end)
CROSS JOIN LATERAL (
    SELECT activity.endpoint, sum(activity.delivered)::bigint AS delivered,
           sum(activity.failed)::bigint AS failed, sum(activity.seconds) AS seconds
    FROM cdc_outbox.activity
    WHERE activity.source = :source::text
      AND activity.period_start >= given.period_start AND activity.period_start < given.period_end
    GROUP BY activity.endpoint
) AS counted
JOIN cdc_outbox.endpoint ON endpoint.number = counted.endpoint

-- name: activity_slots
-- All attempts in periods.
SELECT given.period_start, '', '', counted.delivered, counted.failed, counted.seconds
FROM unnest(:period_start::timestamptz[], :period_end::timestamptz[]) AS given (period_start, period_end)
CROSS JOIN LATERAL (
    SELECT sum(activity.delivered)::bigint AS delivered, sum(activity.failed)::bigint AS failed,
           sum(activity.seconds) AS seconds
    FROM cdc_outbox.activity
    WHERE activity.period_start >= given.period_start AND activity.period_start < given.period_end
) AS counted
WHERE counted.delivered IS NOT NULL

-- name: gather_activity
-- Adds the minutes of a period to their hours; `drop_minutes` removes them.
INSERT INTO cdc_outbox.activity (period_start, endpoint, source, shard, delivered, failed, seconds)
SELECT to_timestamp(floor(extract(epoch FROM period_start) / 3600) * 3600) AS hour, endpoint, source, 0, sum(delivered),
       sum(failed), sum(seconds)
FROM cdc_outbox.activity
WHERE period_start >= :since AND period_start < :before AND mod(extract(epoch FROM period_start)::bigint, 3600) <> 0
GROUP BY hour, endpoint, source
ON CONFLICT (period_start, endpoint, source, shard) DO UPDATE SET
    delivered = activity.delivered + excluded.delivered, failed = activity.failed + excluded.failed,
    seconds = activity.seconds + excluded.seconds

-- name: drop_minutes
-- Removes the minutes that `gather_activity` has added to their hours.
DELETE FROM cdc_outbox.activity
WHERE period_start >= :since AND period_start < :before AND mod(extract(epoch FROM period_start)::bigint, 3600) <> 0
