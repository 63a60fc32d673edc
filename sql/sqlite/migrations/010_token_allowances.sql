-- What a token of some sources may do beyond them.

ALTER TABLE access_token ADD COLUMN allowed TEXT NOT NULL DEFAULT '[]'; -- JSON array of mail, credentials
