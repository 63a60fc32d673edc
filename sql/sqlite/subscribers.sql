-- Who may want an event: every endpoint that was not removed, in the order in which they were added.
SELECT number, events, sources, delivery_order, condition, id FROM endpoint WHERE removed_at IS NULL ORDER BY number
