-- Answers that may be sealed.
SELECT actor, request_key, body FROM idempotency WHERE body IS NOT NULL
