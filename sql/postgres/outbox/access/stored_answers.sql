-- Answers that may be sealed.
SELECT actor, request_key, body FROM cdc_outbox.idempotency WHERE body IS NOT NULL
