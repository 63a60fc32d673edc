-- The statistics of some endpoints, without reading those of all others.

CREATE INDEX activity_endpoint ON cdc_outbox.activity (endpoint, period_start);
