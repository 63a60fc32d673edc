-- Which events an endpoint wants, if it was not removed.
SELECT number, events, sources, delivery_order, condition, id FROM cdc_outbox.endpoint
WHERE id = %(id)s AND removed_at IS NULL
