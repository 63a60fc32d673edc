-- Payloads of events (a JSON list of sequences), for good.
UPDATE event SET payload = x'' WHERE sequence IN (SELECT value FROM json_each(?)) AND length(payload) > 0
