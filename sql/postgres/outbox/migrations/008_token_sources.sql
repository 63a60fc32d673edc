-- The sources of which a token sees and manages what there is.

ALTER TABLE cdc_outbox.access_token ADD COLUMN sources text NOT NULL DEFAULT '[]'; -- JSON array; empty: all
