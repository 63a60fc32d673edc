-- Sessions without a user, of one tenant, and links that open one.

ALTER TABLE cdc_outbox.access_session ADD COLUMN portal text; -- JSON object
