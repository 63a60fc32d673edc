-- A delivery that waits for its next attempt, due now.
UPDATE delivery SET due = min(due, :now) WHERE id = :id AND state = 1 AND worker IS NULL
