-- Endpoints that were not removed, oldest first.
SELECT settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
WHERE removed_at IS NULL AND (%(id)s::text IS NULL OR id = %(id)s)
ORDER BY created_at, number
