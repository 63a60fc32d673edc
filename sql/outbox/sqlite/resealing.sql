-- Rows that former versions stored, in the form of today (`cdc.outbox.upkeep`).

-- name: rewrite_attempt
UPDATE attempt SET url = :url, error = :error, answer = :answer WHERE id = :id

-- name: rewrite_payload
UPDATE event SET payload = :payload WHERE sequence = :sequence
