-- A backfill that has not ended pauses, goes on or ends.
UPDATE cdc_outbox.backfill SET state = %(state)s, error = %(error)s, finished_at = %(finished_at)s
WHERE id = %(id)s AND state IN ('running', 'paused')
