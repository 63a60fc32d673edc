-- The link that makes the first user.
INSERT INTO cdc_outbox.access_setup (digest, expires_at) VALUES (%(digest)s, %(expires_at)s)
