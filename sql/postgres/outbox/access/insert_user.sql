-- A new user; nothing when the name is taken.
INSERT INTO cdc_outbox.access_user (name_key, name, role, password_hash, totp_secret, stamp, created_at)
VALUES (%(name_key)s, %(name)s, %(role)s, %(password_hash)s, %(totp_secret)s, %(stamp)s, %(created_at)s)
ON CONFLICT (name_key) DO NOTHING
