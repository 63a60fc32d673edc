-- The link that makes the first user.
INSERT INTO cdc_outbox.access_setup (digest, created_at, expires_at) VALUES (%(digest)s, %(created_at)s, %(expires_at)s)
