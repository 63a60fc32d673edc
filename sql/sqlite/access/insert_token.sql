-- A new token; nothing when its name is taken.
INSERT INTO access_token (id, name_key, name, scope, digest, created_at, expires_at, last_used_at, sources)
VALUES (:id, :name_key, :name, :scope, :digest, :created_at, :expires_at, :last_used_at, :sources)
ON CONFLICT (name_key) DO NOTHING
