-- What was asked with this idempotency key, and its answer.
SELECT fingerprint, started_at, status, content_type, body FROM cdc_outbox.idempotency
WHERE actor = %(actor)s AND request_key = %(request_key)s
