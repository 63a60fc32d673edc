-- All tokens, oldest first.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed FROM cdc_outbox.access_token ORDER BY created_at, id
