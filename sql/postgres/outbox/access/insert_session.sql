-- Somebody signed in.
INSERT INTO cdc_outbox.access_session (digest, user_key, user_name, role, origin, stamp, address, created_at, last_used_at, expires_at)
VALUES (%(digest)s, %(user_key)s, %(user_name)s, %(role)s, %(origin)s, %(stamp)s, %(address)s, %(created_at)s, %(last_used_at)s, %(expires_at)s)
