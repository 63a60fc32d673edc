-- A request that was claimed and not made.
DELETE FROM idempotency
WHERE actor = :actor AND request_key = :request_key AND started_at = :started_at AND status IS NULL
