-- Replaces everything of an endpoint that may change.
UPDATE endpoint
SET url = :url, events = :events, secret = :secret, enabled = :enabled,
    description = :description, sources = :sources, format = :format, timeout = :timeout,
    retry_schedule = :retry_schedule, concurrency = :concurrency, disabled_reason = :disabled_reason,
    former_secret = :former_secret, former_secret_until = :former_secret_until, origin = :origin,
    delivery_order = :order, condition = :condition, headers = :headers, failing_since = :failing_since,
    settings = :settings
WHERE id = :id AND removed_at IS NULL
