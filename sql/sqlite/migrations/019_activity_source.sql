-- The statistics of one source, without reading those of all others.

CREATE INDEX activity_source ON activity (source, period_start);
