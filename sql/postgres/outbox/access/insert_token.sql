-- A new token; nothing when its name is taken.
INSERT INTO cdc_outbox.access_token (id, name_key, name, scope, digest, created_at, expires_at, last_used_at, sources, allowed)
VALUES (%(id)s, %(name_key)s, %(name)s, %(scope)s, %(digest)s, %(created_at)s, %(expires_at)s, %(last_used_at)s, %(sources)s, %(allowed)s)
ON CONFLICT (name_key) DO NOTHING
