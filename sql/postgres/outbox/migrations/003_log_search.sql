-- For searching the log, for replays and for retention.

-- A lane follows its events: a delivery that a replay makes for an earlier event goes before the later ones.
DROP INDEX cdc_outbox.delivery_lane;
CREATE INDEX delivery_lane ON cdc_outbox.delivery (endpoint, lane, state, event) WHERE state < 2;
-- The same as it was: of two indexes that promise the same, the server takes the younger one.
DROP INDEX cdc_outbox.delivery_due;
CREATE INDEX delivery_due ON cdc_outbox.delivery (endpoint, due, id) WHERE state = 1;

-- The log is listed in the order of its events; each of these is read in that order.
CREATE INDEX event_record ON cdc_outbox.event (record, sequence);
CREATE INDEX event_name ON cdc_outbox.event (name, sequence);
CREATE INDEX event_time ON cdc_outbox.event ("time", sequence);
CREATE INDEX delivery_endpoint ON cdc_outbox.delivery ((endpoint + 0), event, id); -- nothing but a search may choose it
DROP INDEX cdc_outbox.delivery_dead;
CREATE INDEX delivery_dead ON cdc_outbox.delivery (event, id) WHERE state = 3;
CREATE INDEX delivery_cancelled ON cdc_outbox.delivery (event, id) WHERE state = 4;

-- What retention removes makes room soon.
ALTER TABLE cdc_outbox.event SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE cdc_outbox.attempt SET (autovacuum_vacuum_scale_factor = 0.05);
