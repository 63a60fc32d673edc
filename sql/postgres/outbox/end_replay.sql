-- A replay that runs ends before its end.
UPDATE cdc_outbox.replay SET state = %(state)s, error = %(error)s, finished_at = %(now)s WHERE id = %(id)s AND state = 'running'
