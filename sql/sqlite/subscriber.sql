-- `subscribers.sql` for one endpoint.
SELECT number, events, sources, delivery_order, condition, id FROM endpoint WHERE id = ? AND removed_at IS NULL
