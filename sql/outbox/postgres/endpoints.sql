-- name: endpoints
-- Endpoints that were not removed, oldest first.
SELECT settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
WHERE removed_at IS NULL AND (:id::text IS NULL OR id = :id)
ORDER BY created_at, number

-- name: removed_endpoints
-- What endpoints were called that were removed.
SELECT id, settings ->> 'description', settings ->> 'url' FROM cdc_outbox.endpoint
WHERE removed_at IS NOT NULL AND id = ANY (:ids::text[])

-- name: insert_endpoint
-- A new endpoint; nothing when the id was ever used.
INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, former_secret, settings, created_at,
                                 delivery_order, condition, headers, failing_since)
VALUES (:id, :events, :sources, :enabled, :disabled_reason, :secret, :former_secret,
        :settings, :created_at, :order, :condition, :headers, :failing_since)
ON CONFLICT (id) DO NOTHING
RETURNING number

-- name: update_endpoint
-- Replaces everything of an endpoint that may change.
UPDATE cdc_outbox.endpoint
SET events = :events, sources = :sources, enabled = :enabled, disabled_reason = :disabled_reason,
    secret = :secret, former_secret = :former_secret, settings = :settings,
    delivery_order = :order, condition = :condition, headers = :headers, failing_since = :failing_since
WHERE id = :id AND removed_at IS NULL

-- name: all_endpoints
-- All endpoints, removed ones too; the columns of `endpoints` come last.
SELECT number, removed_at, settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
ORDER BY number
