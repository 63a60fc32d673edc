-- The sources of which a user of the page sees and manages what there is.

ALTER TABLE cdc_outbox.access_user ADD COLUMN sources text NOT NULL DEFAULT '[]'; -- JSON array; empty: all
