-- Where a source stands.
INSERT INTO source_position (source, position) VALUES (?, ?)
ON CONFLICT (source) DO UPDATE SET position = excluded.position
