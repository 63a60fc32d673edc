-- One event; nothing when its id is stored already.
INSERT INTO event (id, name, source, record, time, payload) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
