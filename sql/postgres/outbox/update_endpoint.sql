-- Replaces everything of an endpoint that may change.
UPDATE cdc_outbox.endpoint
SET events = %(events)s, sources = %(sources)s, enabled = %(enabled)s, disabled_reason = %(disabled_reason)s,
    secret = %(secret)s, former_secret = %(former_secret)s, settings = %(settings)s,
    delivery_order = %(order)s, condition = %(condition)s, headers = %(headers)s, failing_since = %(failing_since)s
WHERE id = %(id)s AND removed_at IS NULL
