-- A step of a replay, if this worker is still at it.
UPDATE replay
SET deliveries = deliveries + :deliveries, expunged = expunged + :expunged, place = :place, leased_until = :until,
    state = :state, finished_at = :finished_at
WHERE id = :id AND worker = :worker AND state = 'running'
