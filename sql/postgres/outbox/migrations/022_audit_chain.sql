-- Each entry of the audit log is chained to the one before: docs/access.md.  The program computes the hashes of the
-- entries that there are.

ALTER TABLE cdc_outbox.audit ADD COLUMN hash text NOT NULL DEFAULT '';  -- empty: written by an earlier release

CREATE TABLE cdc_outbox.audit_chain (
    name   text   PRIMARY KEY,  -- head: the last entry; anchor: the last one that was removed; key: of the hashes
    number bigint NOT NULL,     -- of the entry; of the key, the first entry that is hashed with it
    hash   text   NOT NULL,
    seal   text   NOT NULL      -- a hash over number and hash; of the key, the key itself, encrypted
);
