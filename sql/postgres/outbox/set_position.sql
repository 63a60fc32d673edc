-- Where a source stands.
INSERT INTO cdc_outbox.source_position (source, position) VALUES (%(source)s, %(position)s)
ON CONFLICT (source) DO UPDATE SET position = excluded.position
