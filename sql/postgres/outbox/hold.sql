-- Locks deliveries that attempts were made for, in the order of ids: (id, endpoint, lane, worker, attempts, crowded).
-- ("state < 2 AND state > 0" admits the index by lane only, not the one by due time, which would be read whole.)
-- crowded: another one of the lane is active too (renamed records), or one of an older event waits (retried, replayed).
SELECT delivery.id, delivery.endpoint, delivery.lane, delivery.worker, delivery.attempts,
       delivery.state = 1 AND (
           EXISTS (
               SELECT FROM cdc_outbox.delivery AS other
               WHERE other.endpoint = delivery.endpoint AND other.lane = delivery.lane
                 AND other.state < 2 AND other.state > 0 AND other.id <> delivery.id
               OFFSET 0
           ) OR EXISTS (
               SELECT FROM cdc_outbox.delivery AS older
               WHERE older.endpoint = delivery.endpoint AND older.lane = delivery.lane
                 AND older.state < 2 AND older.state = 0 AND older.event < delivery.event
               OFFSET 0
           )
       )
FROM cdc_outbox.delivery
WHERE delivery.id = ANY (%(ids)s::bigint[])
ORDER BY delivery.id
FOR UPDATE OF delivery
