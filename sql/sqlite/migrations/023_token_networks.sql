-- Addresses from which a token may be used, and the one that used it last.

ALTER TABLE access_token ADD COLUMN networks TEXT NOT NULL DEFAULT '[]';     -- JSON list; empty: any address
ALTER TABLE access_token ADD COLUMN last_used_from TEXT NOT NULL DEFAULT '';
