-- Which outbox has read the journal, and up to which of its batches (an empty outbox: none yet). An outbox that is
-- another one, or older than that, lacks changes which are not in the journal any more.
CREATE TABLE cdc.cdc_marker (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    outbox text NOT NULL DEFAULT '',
    batch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO cdc.cdc_marker DEFAULT VALUES;
