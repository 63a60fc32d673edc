-- The address of what a request with an idempotency key made: a repeated answer has it too.

ALTER TABLE cdc_outbox.idempotency ADD COLUMN location text;
