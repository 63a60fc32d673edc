-- All users, or the one of this key, by name.
SELECT name, role, password_hash, totp_secret, stamp, created_at FROM access_user
WHERE :name_key IS NULL OR name_key = :name_key
ORDER BY name_key
