-- A request that was claimed and not made.
DELETE FROM cdc_outbox.idempotency
WHERE actor = %(actor)s AND request_key = %(request_key)s AND started_at = %(started_at)s AND status IS NULL
