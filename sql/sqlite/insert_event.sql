-- One event that is not stored yet.
INSERT INTO event (sequence, id, name, source, record, time, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
