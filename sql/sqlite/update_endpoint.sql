-- Replaces everything of an endpoint but its id.
UPDATE endpoint
SET url = :url, events = :events, secret = :secret, created_at = :created_at, enabled = :enabled,
    description = :description, sources = :sources, format = :format, timeout = :timeout,
    retry_schedule = :retry_schedule, concurrency = :concurrency, disabled_reason = :disabled_reason,
    former_secret = :former_secret, former_secret_until = :former_secret_until
WHERE id = :id AND removed_at IS NULL
