-- A new endpoint; nothing when the id was ever used.
INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, former_secret, settings, created_at,
                                 delivery_order, condition, headers, failing_since)
VALUES (%(id)s, %(events)s, %(sources)s, %(enabled)s, %(disabled_reason)s, %(secret)s, %(former_secret)s,
        %(settings)s, %(created_at)s, %(order)s, %(condition)s, %(headers)s, %(failing_since)s)
ON CONFLICT (id) DO NOTHING
RETURNING number
