-- All endpoints, removed ones too; the columns of endpoints.sql come last.
SELECT number, removed_at, settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
ORDER BY number
