-- All users, or the one of this key, by name.
SELECT name, role, password_hash, totp_secret, stamp, created_at FROM cdc_outbox.access_user
WHERE %(name_key)s::text IS NULL OR name_key = %(name_key)s
ORDER BY name_key COLLATE "C"
