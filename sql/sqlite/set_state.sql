-- One small state of a source.
INSERT INTO source_state (source, name, value) VALUES (?, ?, ?)
ON CONFLICT (source, name) DO UPDATE SET value = excluded.value
