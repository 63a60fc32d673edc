-- Attempts as the log keeps them.  One that the delivery's newest repeats was recorded by a write of which only the
-- answer was lost.
INSERT INTO cdc_outbox.attempt (delivery, number, url, status, started_at, duration, error, answer)
SELECT given.delivery, given.number, given.url, given.status, given.started_at, given.duration, given.error, given.answer
FROM unnest(%(deliveries)s::bigint[], %(numbers)s::integer[], %(urls)s::text[], %(statuses)s::integer[],
            %(starts)s::timestamptz[], %(durations)s::double precision[], %(errors)s::text[], %(answers)s::text[])
     WITH ORDINALITY AS given (delivery, number, url, status, started_at, duration, error, answer, n)
LEFT JOIN LATERAL (
    SELECT attempt.number, attempt.status, attempt.started_at, attempt.duration, attempt.error FROM cdc_outbox.attempt
    WHERE attempt.delivery = given.delivery
    ORDER BY attempt.id DESC
    LIMIT 1
) AS last ON true
WHERE (last.number, last.status, last.started_at, last.duration, last.error)
      IS DISTINCT FROM (given.number, given.status, given.started_at, given.duration, given.error)
ORDER BY given.n
