-- What was asked with this idempotency key, and its answer.
SELECT fingerprint, started_at, status, content_type, body FROM idempotency
WHERE actor = :actor AND request_key = :request_key
