-- A step of a replay, if this worker is still at it.
UPDATE cdc_outbox.replay
SET deliveries = deliveries + %(deliveries)s, expunged = expunged + %(expunged)s, place = %(place)s, leased_until = %(until)s,
    state = %(state)s, finished_at = %(finished_at)s
WHERE id = %(id)s AND worker = %(worker)s AND state = 'running'
