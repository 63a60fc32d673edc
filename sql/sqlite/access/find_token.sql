-- The token with this id, or whose name has this key.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed FROM access_token
WHERE id = :token OR name_key = :name_key
