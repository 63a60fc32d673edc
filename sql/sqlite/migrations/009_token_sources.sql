-- The sources of which a token sees and manages what there is.

ALTER TABLE access_token ADD COLUMN sources TEXT NOT NULL DEFAULT '[]'; -- JSON array; empty: all
