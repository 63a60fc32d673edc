-- Attempts that travelled alone, as the log keeps them: a JSON list of rows.
INSERT INTO attempt (number, url, status, started_at, duration, error, answer, delivery)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]')
FROM json_each(?)
