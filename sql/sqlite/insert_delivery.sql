-- One delivery: active when its lane (merges followed) has nothing unfinished, else it waits.
-- Parameters: event, endpoint, lane of the record, now.  (`state < 2` admits the partial index.)
INSERT INTO delivery (event, endpoint, lane, state, due, created_at)
SELECT ?1, ?2, current.lane,
       NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = ?2 AND lane = current.lane AND state < 2),
       ?4, ?4
FROM (SELECT COALESCE((SELECT root FROM lane_alias WHERE lane = ?3), ?3) AS lane) AS current
