-- The statistics of one source, without reading those of all others.

CREATE INDEX activity_source ON cdc_outbox.activity (source, period_start);
