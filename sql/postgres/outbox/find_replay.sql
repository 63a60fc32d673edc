-- One replay.
SELECT id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
FROM cdc_outbox.replay
WHERE id = %(id)s
