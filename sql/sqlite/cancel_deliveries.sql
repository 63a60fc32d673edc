-- Ends every unfinished delivery of an endpoint.
UPDATE delivery SET state = 4, worker = NULL, finished_at = ? WHERE endpoint = ? AND state < 2
