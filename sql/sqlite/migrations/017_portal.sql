-- Sessions without a user, of one tenant, and links that open one.

ALTER TABLE access_session ADD COLUMN portal TEXT; -- JSON object
