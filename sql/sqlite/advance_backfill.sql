-- A page of a backfill, unless it has ended.
UPDATE backfill
SET row_count = row_count + :row_count, place = :place, state = CASE WHEN :finished THEN 'done' ELSE state END,
    finished_at = CASE WHEN :finished THEN :now END
WHERE id = :id AND state IN ('running', 'paused')
