-- A delivery, if a worker still holds the lease that counted this attempt: its id, endpoint and lane.
SELECT id, endpoint, lane FROM delivery WHERE id = ? AND worker = ? AND attempts = ?
