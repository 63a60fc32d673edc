-- What storing needs to know: the last ids, which of the events are stored already, and who may want an event.
SELECT (SELECT COALESCE(max(sequence), 0) FROM cdc_outbox.event),
       (SELECT COALESCE(max(id), 0) FROM cdc_outbox.delivery),
       (SELECT COALESCE(array_agg(id), '{}') FROM cdc_outbox.event WHERE id = ANY (%(ids)s::text[])),
       (SELECT COALESCE(jsonb_agg(jsonb_build_array(number, events, sources, delivery_order, condition, id) ORDER BY number), '[]')
        FROM cdc_outbox.endpoint WHERE removed_at IS NULL)
