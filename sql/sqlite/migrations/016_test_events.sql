-- Events that tried an endpoint, few among many: the counts of deliveries leave them out.
CREATE INDEX event_test ON event (sequence) WHERE source = 'test';
