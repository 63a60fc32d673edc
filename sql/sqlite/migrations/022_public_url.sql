-- What everybody may see of an endpoint's URL, and what a search for a text reads: the URL itself is sealed where there
-- is a key.  NULL: not worked out yet, which is done when the outbox is opened.

ALTER TABLE endpoint ADD COLUMN public_url TEXT;

-- How far rows are in the form of today, by part: the form, a colon, and the last row, or "done".
CREATE TABLE resealing (part TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID;
