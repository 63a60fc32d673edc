-- Replays, newest first, behind the one that is named.
SELECT id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
FROM cdc_outbox.replay
WHERE %(before)s::text IS NULL OR (created_at, id) < (SELECT last.created_at, last.id FROM cdc_outbox.replay AS last WHERE last.id = %(before)s::text)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s
