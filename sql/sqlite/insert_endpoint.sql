-- A new endpoint; nothing when the id was ever used.
INSERT INTO endpoint (id, url, events, secret, created_at, enabled, description, sources, format, timeout,
                      retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin)
VALUES (:id, :url, :events, :secret, :created_at, :enabled, :description, :sources, :format, :timeout,
        :retry_schedule, :concurrency, :disabled_reason, :former_secret, :former_secret_until, :origin)
ON CONFLICT (id) DO NOTHING
