-- The sequences of events, by their ids.
SELECT id, sequence FROM cdc_outbox.event WHERE id = ANY (%(ids)s::text[])
