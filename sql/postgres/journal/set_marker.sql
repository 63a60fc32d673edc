-- Note that this outbox has stored everything up to this batch, in the statement that follows.
WITH marked AS (UPDATE cdc.cdc_marker SET outbox = %(outbox)s, batch = %(batch)s)
