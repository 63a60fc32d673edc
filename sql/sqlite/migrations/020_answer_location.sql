-- The address of what a request with an idempotency key made: a repeated answer has it too.

ALTER TABLE idempotency ADD COLUMN location TEXT;
