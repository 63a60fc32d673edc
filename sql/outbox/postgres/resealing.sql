-- Rows that former versions stored, in the form of today (`cdc.outbox.upkeep`).

-- name: rewrite_attempt
UPDATE cdc_outbox.attempt SET url = given.url, error = given.error, answer = given.answer
FROM unnest(:id::bigint[], :url::text[], :error::text[], :answer::text[]) AS given (id, url, error, answer)
WHERE attempt.id = given.id

-- name: rewrite_payload
UPDATE cdc_outbox.event SET payload = given.payload
FROM unnest(:sequence::bigint[], :payload::bytea[]) AS given (sequence, payload)
WHERE event.sequence = given.sequence
