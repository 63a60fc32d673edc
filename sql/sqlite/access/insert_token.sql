-- A new token; nothing when its name is taken.
INSERT INTO access_token (id, name_key, name, scope, digest, created_at, expires_at, last_used_at, sources, allowed)
VALUES (:id, :name_key, :name, :scope, :digest, :created_at, :expires_at, :last_used_at, :sources, :allowed)
ON CONFLICT (name_key) DO NOTHING
