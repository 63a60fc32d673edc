-- The answer of a request, unless somebody else makes it by now.
UPDATE idempotency SET status = :status, content_type = :content_type, body = :body
WHERE actor = :actor AND request_key = :request_key AND started_at = :started_at AND status IS NULL
