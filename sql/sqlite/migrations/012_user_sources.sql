-- The sources of which a user of the page sees and manages what there is.

ALTER TABLE access_user ADD COLUMN sources TEXT NOT NULL DEFAULT '[]'; -- JSON array; empty: all
