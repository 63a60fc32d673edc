-- The answer of a request, unless somebody else makes it by now.
UPDATE cdc_outbox.idempotency SET status = %(status)s, content_type = %(content_type)s, body = %(body)s
WHERE actor = %(actor)s AND request_key = %(request_key)s AND started_at = %(started_at)s AND status IS NULL
