-- Small states of a source.
INSERT INTO cdc_outbox.source_state (source, name, value)
SELECT %(source)s, name, value FROM unnest(%(names)s::text[], %(values)s::text[]) AS given (name, value)
ON CONFLICT (source, name) DO UPDATE SET value = excluded.value
