-- Before `promote.sql`: pending deliveries of a lane wait again (more than the oldest may be pending after a merge, or
-- an older one was retried).  `due` stays, so a retry keeps its time.  (`state < 2` admits the partial index.)
UPDATE delivery SET state = 0
WHERE endpoint = :endpoint AND lane = :lane AND state < 2 AND state = 1 AND worker IS NULL
