-- A page of a backfill, unless it has ended.
UPDATE cdc_outbox.backfill
SET row_count = row_count + %(row_count)s, place = %(place)s, state = CASE WHEN %(finished)s THEN 'done' ELSE state END,
    finished_at = CASE WHEN %(finished)s THEN %(now)s::timestamptz END
WHERE id = %(id)s AND state IN ('running', 'paused')
