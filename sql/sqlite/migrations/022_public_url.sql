-- What everybody may see of an endpoint's URL, and what a search for a text reads: the URL itself is sealed where there
-- is a key.  NULL: not worked out yet, which is done when the outbox is opened.

ALTER TABLE endpoint ADD COLUMN public_url TEXT;

-- How far rows of former versions are in the form of today: by part, the number of the last row; -1: all are.
CREATE TABLE resealing (part TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
