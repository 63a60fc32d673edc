-- name: insert_moved
-- One delivery as it was in the other outbox.
INSERT INTO delivery (event, endpoint, lane, state, due, attempts, worker, created_at, finished_at)
VALUES (:event, :endpoint, :lane, :state, :due, :attempts, :worker, :created_at, :finished_at)

-- name: hold_reopened
-- A delivery that was finished here, and was not in the other outbox.
UPDATE delivery SET lane = :lane, due = :due, attempts = :attempts, worker = :worker WHERE id = :id

-- name: insert_moved_attempt
INSERT INTO attempt (delivery, number, url, status, started_at, duration, error, answer)
VALUES (:delivery, :number, :url, :status, :started_at, :duration, :error, :answer)

-- name: count_moved_finished
-- A finished delivery that came from the other outbox.
INSERT INTO finished_count (endpoint, state, deliveries) VALUES (:endpoint, :state, 1)
ON CONFLICT (endpoint, state) DO UPDATE SET deliveries = deliveries + 1

-- name: cancel_held
-- Held deliveries that the other outbox has by now end here.
UPDATE delivery SET state = 4, lane = ~lane, worker = NULL, finished_at = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 0 AND worker = :mover
