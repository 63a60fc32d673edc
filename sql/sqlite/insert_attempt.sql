-- One attempt as the log keeps it.
INSERT INTO attempt (delivery, number, url, status, started_at, duration, error, answer)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
