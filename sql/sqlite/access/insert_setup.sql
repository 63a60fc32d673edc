-- The link that makes the first user.
INSERT INTO access_setup (digest, expires_at) VALUES (:digest, :expires_at)
