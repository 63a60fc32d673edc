-- name: forget_audit
-- Up to so many of the oldest entries, as long as they were made before a moment: no hole is cut.
-- A row for each that was removed.
SELECT generate_series(1, cdc_outbox.forget_audit(:until, :limit))
