-- A change that was skipped; one that is known keeps its first reason.
INSERT INTO cdc_outbox.quarantine
    (id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after)
VALUES
    (%(id)s, %(found_at)s, %(source)s, %(table_name)s, %(operation)s, %(row_key)s, %(token)s, %(changed_at)s, %(reason)s,
     %(image_before)s, %(image_after)s)
ON CONFLICT (id) DO NOTHING
