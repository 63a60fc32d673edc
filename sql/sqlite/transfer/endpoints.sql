-- All endpoints, removed ones too; the columns of endpoints.sql come last.
SELECT number, removed_at, id, url, events, secret, created_at, enabled, description, sources, format, timeout,
       retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
ORDER BY number
