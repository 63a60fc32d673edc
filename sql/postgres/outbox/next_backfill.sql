-- The oldest backfill of a source that runs.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM cdc_outbox.backfill
WHERE source = %(source)s AND state = 'running'
ORDER BY created_at, id
LIMIT 1
