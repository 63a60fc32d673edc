-- What a token of some sources may do beyond them.

ALTER TABLE cdc_outbox.access_token ADD COLUMN allowed text NOT NULL DEFAULT '[]'; -- JSON array of mail, credentials
