-- An answer sealed anew.
UPDATE idempotency SET body = :body WHERE actor = :actor AND request_key = :request_key AND body IS NOT NULL
