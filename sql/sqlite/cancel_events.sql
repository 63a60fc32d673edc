-- Ends every unfinished delivery of events (a JSON list of sequences); where they stood in line.
UPDATE delivery SET state = 4, worker = NULL, finished_at = :now
WHERE state < 2 AND event IN (SELECT value FROM json_each(:events))
RETURNING endpoint, lane
