-- Addresses from which a token may be used, and the one that used it last.

ALTER TABLE cdc_outbox.access_token ADD COLUMN networks text NOT NULL DEFAULT '[]';     -- JSON list; empty: any address
ALTER TABLE cdc_outbox.access_token ADD COLUMN last_used_from text NOT NULL DEFAULT '';
