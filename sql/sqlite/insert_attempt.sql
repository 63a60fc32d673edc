-- Attempts as the log keeps them (a JSON list of lists, in this order).
-- One statement for all: after each that it runs the driver waits for the interpreter, which the event loop has.
INSERT INTO attempt (number, url, status, started_at, duration, error, answer, delivery)
SELECT
    json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
    json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]')
FROM json_each(?)
