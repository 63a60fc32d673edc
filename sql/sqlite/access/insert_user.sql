-- A new user; nothing when the name is taken.
INSERT INTO access_user (name_key, name, role, password_hash, totp_secret, stamp, created_at)
VALUES (:name_key, :name, :role, :password_hash, :totp_secret, :stamp, :created_at)
ON CONFLICT (name_key) DO NOTHING
