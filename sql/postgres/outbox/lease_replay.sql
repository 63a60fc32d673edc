-- The oldest replay that runs and that no other process is at becomes this worker's.
UPDATE cdc_outbox.replay SET worker = %(worker)s, leased_until = %(until)s
WHERE id = (SELECT free.id FROM cdc_outbox.replay AS free
            WHERE free.state = 'running'
              AND (free.leased_until IS NULL OR free.leased_until <= %(now)s OR free.worker = %(worker)s)
            ORDER BY free.created_at, free.id
            LIMIT 1
            FOR UPDATE SKIP LOCKED)
RETURNING id, created_at, actor, selection, rate, total, state, deliveries, expunged, place, worker, leased_until,
       finished_at, error
