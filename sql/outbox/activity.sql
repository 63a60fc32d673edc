-- name: forget_activity
-- Statistics before a time.
DELETE FROM cdc_outbox.activity WHERE period_start < :before
