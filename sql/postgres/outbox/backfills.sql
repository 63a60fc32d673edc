-- Backfills, newest first, behind the one that is named.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM cdc_outbox.backfill
WHERE %(before)s::text IS NULL OR (created_at, id) < (SELECT last.created_at, last.id FROM cdc_outbox.backfill AS last WHERE last.id = %(before)s::text)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s
