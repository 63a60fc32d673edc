-- The attempts that travelled in one request, as the log keeps them, for a JSON list of deliveries.
INSERT INTO attempt (number, url, status, started_at, duration, error, answer, delivery)
SELECT ?, ?, ?, ?, ?, ?, ?, value FROM json_each(?)
