-- One backfill.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM cdc_outbox.backfill
WHERE id = %(id)s
