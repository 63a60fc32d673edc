-- Backfills, newest first, behind the one that is named.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM backfill
WHERE :before IS NULL OR (created_at, id) < (SELECT last.created_at, last.id FROM backfill AS last WHERE last.id = :before)
ORDER BY created_at DESC, id DESC
LIMIT :limit
