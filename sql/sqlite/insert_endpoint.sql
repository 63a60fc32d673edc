-- A new endpoint; nothing when the id was ever used.
INSERT INTO endpoint (id, url, events, secret, created_at, enabled, description, sources, format, timeout,
                      retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin,
                      delivery_order, condition, headers, failing_since, settings)
VALUES (:id, :url, :events, :secret, :created_at, :enabled, :description, :sources, :format, :timeout,
        :retry_schedule, :concurrency, :disabled_reason, :former_secret, :former_secret_until, :origin,
        :order, :condition, :headers, :failing_since, :settings)
ON CONFLICT (id) DO NOTHING
