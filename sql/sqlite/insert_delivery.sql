-- One delivery: active when its lane (merges followed) has nothing unfinished, else it waits.
-- Parameters: event, endpoint, lane of the record, now.  (`state < 2` admits the partial index.)
WITH
given (event, endpoint, lane, now) AS (VALUES (?, ?, ?, ?)),
placed (event, endpoint, lane, now) AS (
    SELECT event, endpoint, COALESCE((SELECT root FROM lane_alias WHERE lane_alias.lane = given.lane), given.lane), now
    FROM given
)
INSERT INTO delivery (event, endpoint, lane, state, due, created_at)
SELECT event, endpoint, lane,
       NOT EXISTS (
           SELECT 1 FROM delivery AS other
           WHERE other.endpoint = placed.endpoint AND other.lane = placed.lane AND other.state < 2
       ),
       now, now
FROM placed
