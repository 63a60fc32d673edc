-- A request that is being made, in the place of a former one that had expired or died.
INSERT INTO cdc_outbox.idempotency (actor, request_key, fingerprint, started_at) VALUES (%(actor)s, %(request_key)s, %(fingerprint)s, %(started_at)s)
ON CONFLICT (actor, request_key) DO UPDATE
SET fingerprint = excluded.fingerprint, started_at = excluded.started_at, status = NULL, content_type = NULL, body = NULL
