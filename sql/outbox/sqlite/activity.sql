-- name: count_attempts
-- Adds attempts of endpoints and sources to a period.  Parameters: period; a JSON list of [endpoint, source, delivered,
-- failed, seconds].  (`WHERE true`: else ON would belong to the join.)
INSERT INTO activity (period_start, endpoint, source, shard, delivered, failed, seconds)
SELECT ?, number, json_extract(value, '$[1]'), 0, json_extract(value, '$[2]'), json_extract(value, '$[3]'),
       json_extract(value, '$[4]')
FROM json_each(?) CROSS JOIN endpoint ON endpoint.id = json_extract(value, '$[0]') WHERE true
ON CONFLICT (period_start, endpoint, source, shard) DO UPDATE SET
    delivered = delivered + excluded.delivered, failed = failed + excluded.failed, seconds = seconds + excluded.seconds

-- name: activity
-- Attempts in a period, by endpoint and source.
SELECT :period_start AS period_start, endpoint.id, activity.source,
       SUM(activity.delivered), SUM(activity.failed), SUM(activity.seconds)
FROM activity JOIN endpoint ON endpoint.number = activity.endpoint
WHERE activity.period_start >= :period_start AND activity.period_start < :period_end
GROUP BY activity.endpoint, activity.source

-- name: activity_of
-- Attempts in a period for endpoints of these ids (a JSON list), by endpoint and source.
SELECT :period_start AS period_start, endpoint.id, activity.source,
       SUM(activity.delivered), SUM(activity.failed), SUM(activity.seconds)
FROM endpoint CROSS JOIN activity ON activity.endpoint = endpoint.number
WHERE endpoint.id IN (SELECT value FROM json_each(:ids))
  AND activity.period_start >= :period_start AND activity.period_start < :period_end
GROUP BY activity.endpoint, activity.source

-- name: activity_source
-- Attempts in a period for one source, by endpoint.
SELECT :period_start AS period_start, endpoint.id, :source,
       SUM(activity.delivered), SUM(activity.failed), SUM(activity.seconds)
FROM activity CROSS JOIN endpoint ON endpoint.number = activity.endpoint
WHERE activity.source = :source AND activity.period_start >= :period_start AND activity.period_start < :period_end
GROUP BY activity.endpoint

-- name: activity_slots
-- All attempts in a period.
SELECT :period_start AS period_start, '', '', counted.delivered, counted.failed, counted.seconds
FROM (
    SELECT SUM(delivered) AS delivered, SUM(failed) AS failed, SUM(seconds) AS seconds
    FROM activity WHERE period_start >= :period_start AND period_start < :period_end
) AS counted
WHERE counted.delivered IS NOT NULL

-- name: gather_activity
-- Adds the minutes of a period to their hours; `drop_minutes` removes them.
INSERT INTO activity (period_start, endpoint, source, shard, delivered, failed, seconds)
SELECT period_start - period_start % 3600000000 AS hour, endpoint, source, 0, SUM(delivered), SUM(failed), SUM(seconds)
FROM activity
WHERE period_start >= :since AND period_start < :before AND period_start % 3600000000 <> 0
GROUP BY hour, endpoint, source
ON CONFLICT (period_start, endpoint, source, shard) DO UPDATE SET
    delivered = delivered + excluded.delivered, failed = failed + excluded.failed, seconds = seconds + excluded.seconds

-- name: drop_minutes
-- Removes the minutes that `gather_activity` has added to their hours.
DELETE FROM activity WHERE period_start >= :since AND period_start < :before AND period_start % 3600000000 <> 0
