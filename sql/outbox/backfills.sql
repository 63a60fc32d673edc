-- name: insert_backfill
-- A backfill that was asked for.
INSERT INTO cdc_outbox.backfill
    (id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state)
VALUES (:id, :created_at, :actor, :source, :table_name, :condition, :endpoint, :rate, :estimate, :state)

-- name: find_backfill
-- One backfill.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM cdc_outbox.backfill
WHERE id = :id

-- name: backfilled_sources
-- Sources of which a backfill runs.
SELECT DISTINCT source FROM cdc_outbox.backfill WHERE state = 'running'

-- name: next_backfill
-- The oldest backfill of a source that runs.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM cdc_outbox.backfill
WHERE source = :source AND state = 'running'
ORDER BY created_at, id
LIMIT 1

-- name: set_backfill
-- A backfill that has not ended pauses, goes on or ends.
UPDATE cdc_outbox.backfill SET state = :state, error = :error, finished_at = :finished_at
WHERE id = :id AND state IN ('running', 'paused')

-- name: backfills
-- Backfills, newest first, behind the one that is named.
SELECT id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state, row_count, place, finished_at,
       error
FROM cdc_outbox.backfill
WHERE :before::text IS NULL OR (created_at, id) < (SELECT last.created_at, last.id FROM cdc_outbox.backfill AS last WHERE last.id = :before::text)
ORDER BY created_at DESC, id DESC
LIMIT :limit

-- name: advance_backfill
-- A page of a backfill, unless it has ended.
UPDATE cdc_outbox.backfill
SET row_count = row_count + :row_count, place = :place, state = CASE WHEN :finished THEN 'done' ELSE state END,
    finished_at = CASE WHEN :finished THEN :now::timestamptz END
WHERE id = :id AND state IN ('running', 'paused')

-- name: all_unfinished
-- How many deliveries are not finished, up to a limit.
SELECT count(*) FROM (SELECT 1 FROM cdc_outbox.delivery WHERE state < 2 LIMIT :limit) AS counted

-- name: unfinished
-- How many deliveries of an endpoint are not finished, up to a limit.
SELECT count(*)
FROM (SELECT 1 FROM cdc_outbox.delivery
      WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = :endpoint) AND state < 2
      LIMIT :limit) AS counted
