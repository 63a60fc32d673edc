-- The oldest replay that runs and that no other process is at becomes this worker's.
UPDATE replay SET worker = :worker, leased_until = :until
WHERE id = (SELECT free.id FROM replay AS free
            WHERE free.state = 'running'
              AND (free.leased_until IS NULL OR free.leased_until <= :now OR free.worker = :worker)
            ORDER BY free.created_at, free.id
            LIMIT 1)
RETURNING id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
