-- How an endpoint wants its events: what statements look at has a column, everything else is in settings.
ALTER TABLE endpoint ADD COLUMN delivery_order TEXT NOT NULL DEFAULT 'record'; -- what waits for what: record, endpoint, none
ALTER TABLE endpoint ADD COLUMN condition TEXT NOT NULL DEFAULT ''; -- an expression on the event; empty: none
ALTER TABLE endpoint ADD COLUMN headers TEXT NOT NULL DEFAULT '[]'; -- JSON list of pairs, values sealed as secrets are
ALTER TABLE endpoint ADD COLUMN failing_since INTEGER; -- first failed attempt with no success since
ALTER TABLE endpoint ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'; -- JSON object
