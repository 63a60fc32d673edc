-- One delivery: active when its lane has nothing unfinished, else it waits.
-- (`state < 2` admits the partial index.)
INSERT INTO delivery (event, endpoint, lane, state, due, created_at)
SELECT :event, :endpoint, :lane,
       NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = :endpoint AND lane = :lane AND state < 2),
       :now, :now
