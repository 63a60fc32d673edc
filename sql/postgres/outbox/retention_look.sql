-- Events behind a sequence, oldest first, as retention looks at them: whether the payload is there, whether a delivery is
-- unfinished, when the newest finished one, and the newest dead letter, was finished.  The newest event is left out.
SELECT event.sequence, event."time", octet_length(event.payload) > 0, COALESCE(its.unfinished, false), its.finished_at,
       its.dead_at
FROM cdc_outbox.event
LEFT JOIN LATERAL (
    SELECT bool_or(state < 2) AS unfinished,
           max(finished_at) FILTER (WHERE state >= 2) AS finished_at,
           max(finished_at) FILTER (WHERE state = 3) AS dead_at
    FROM cdc_outbox.delivery
    WHERE delivery.event = event.sequence
) AS its ON true
WHERE event.sequence > %(after)s AND event.sequence < %(newest)s
ORDER BY event.sequence
LIMIT %(limit)s
