-- The token with this digest.
SELECT id, name, scope, created_at, expires_at, last_used_at, sources, allowed FROM access_token WHERE digest = :digest
