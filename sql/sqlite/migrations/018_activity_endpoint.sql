-- The statistics of some endpoints, without reading those of all others.

CREATE INDEX activity_endpoint ON activity (endpoint, period_start);
