-- One attempt as the log keeps it.
INSERT INTO attempt (number, url, status, started_at, duration, error, answer, delivery)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
