-- The token with this id, or whose name has this key.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed FROM cdc_outbox.access_token
WHERE id = %(token)s OR name_key = %(name_key)s
