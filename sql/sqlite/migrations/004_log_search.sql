-- For searching the log, for replays and for retention.

-- A lane follows its events: a delivery that a replay makes for an earlier event goes before the later ones.
DROP INDEX delivery_lane;
CREATE INDEX delivery_lane ON delivery (endpoint, lane, state, event) WHERE state < 2;

-- The log is listed in the order of its events; each of these is read in that order (an index ends with the sequence).
CREATE INDEX event_record ON event (record);
CREATE INDEX event_name ON event (name);
CREATE INDEX event_time ON event (time);
CREATE INDEX delivery_endpoint ON delivery (endpoint + 0, event); -- for searches that say so: nothing else may choose it
DROP INDEX delivery_dead;
CREATE INDEX delivery_dead ON delivery (event) WHERE state = 3;
CREATE INDEX delivery_cancelled ON delivery (event) WHERE state = 4;

-- What retention removes is not counted any more.
CREATE TRIGGER delivery_removed AFTER DELETE ON delivery WHEN old.state >= 2
BEGIN
    UPDATE finished_count SET deliveries = deliveries - 1 WHERE endpoint = old.endpoint AND state = old.state;
END;
