-- Somebody signed in.
INSERT INTO access_session (digest, user_key, user_name, role, origin, stamp, address, created_at, last_used_at, expires_at)
VALUES (:digest, :user_key, :user_name, :role, :origin, :stamp, :address, :created_at, :last_used_at, :expires_at)
