-- name: endpoints
-- Endpoints that were not removed, oldest first.
SELECT id, url, events, secret, created_at, enabled, description, sources, format, timeout, retry_schedule,
       concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
WHERE removed_at IS NULL AND (:id IS NULL OR id = :id)
ORDER BY created_at, number

-- name: removed_endpoints
-- What endpoints (a JSON list of ids) were called that were removed.
SELECT id, description, url FROM endpoint
WHERE removed_at IS NOT NULL AND id IN (SELECT value FROM json_each(:ids))

-- name: insert_endpoint
-- A new endpoint; nothing when the id was ever used.
INSERT INTO endpoint (id, url, events, secret, created_at, enabled, description, sources, format, timeout,
                      retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin,
                      delivery_order, condition, headers, failing_since, settings)
VALUES (:id, :url, :events, :secret, :created_at, :enabled, :description, :sources, :format, :timeout,
        :retry_schedule, :concurrency, :disabled_reason, :former_secret, :former_secret_until, :origin,
        :order, :condition, :headers, :failing_since, :settings)
ON CONFLICT (id) DO NOTHING

-- name: update_endpoint
-- Replaces everything of an endpoint that may change.
UPDATE endpoint
SET url = :url, events = :events, secret = :secret, enabled = :enabled,
    description = :description, sources = :sources, format = :format, timeout = :timeout,
    retry_schedule = :retry_schedule, concurrency = :concurrency, disabled_reason = :disabled_reason,
    former_secret = :former_secret, former_secret_until = :former_secret_until, origin = :origin,
    delivery_order = :order, condition = :condition, headers = :headers, failing_since = :failing_since,
    settings = :settings
WHERE id = :id AND removed_at IS NULL

-- name: all_endpoints
-- All endpoints, removed ones too; the columns of `endpoints` come last.
SELECT number, removed_at, id, url, events, secret, created_at, enabled, description, sources, format, timeout,
       retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
ORDER BY number
