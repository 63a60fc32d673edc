-- The link that makes the first user.
INSERT INTO access_setup (digest, created_at, expires_at) VALUES (:digest, :created_at, :expires_at)
