-- Endpoints that were not removed, oldest first.
SELECT id, url, events, secret, created_at, enabled, description, sources, format, timeout, retry_schedule,
       concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
WHERE removed_at IS NULL AND (:id IS NULL OR id = :id)
ORDER BY created_at, number
