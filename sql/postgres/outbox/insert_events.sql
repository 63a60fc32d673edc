-- Events that are not stored yet.
INSERT INTO cdc_outbox.event (sequence, id, name, source, record, "time", payload)
SELECT * FROM unnest(%(sequences)s::bigint[], %(ids)s::text[], %(names)s::text[], %(sources)s::text[],
                     %(records)s::text[], %(times)s::timestamptz[], %(payloads)b::bytea[])
