-- name: holds
-- Endpoints with an open breaker or a pause: seconds until a probe may start, failed probes, seconds of the pause.
SELECT endpoint.id, extract(epoch FROM its.held_until - clock_timestamp())::double precision, its.failed_probes,
       GREATEST(extract(epoch FROM its.paused_until - clock_timestamp()), 0)::double precision
FROM cdc_outbox.endpoint_limit AS its
JOIN cdc_outbox.endpoint ON endpoint.number = its.endpoint
WHERE its.held_until IS NOT NULL OR its.paused_until IS NOT NULL

-- name: publish_breakers
-- Takes over breakers that opened here, if they are closed; and results of probes (`probed`), if the worker still has the
-- right to probe.  Pauses are another fact, of `publish_pauses`.
INSERT INTO cdc_outbox.endpoint_limit AS its (endpoint, held_until, failed_probes, prober)
SELECT endpoint.number, clock_timestamp() + make_interval(secs => given.held), given.failed_probes,
       CASE WHEN given.probed THEN :worker END
FROM jsonb_to_recordset(:holds::jsonb) AS given (id text, held double precision, failed_probes integer, probed boolean)
JOIN cdc_outbox.endpoint ON endpoint.id = given.id
ORDER BY endpoint.number
ON CONFLICT (endpoint) DO UPDATE SET
    held_until = excluded.held_until, failed_probes = excluded.failed_probes, prober = NULL
WHERE CASE WHEN excluded.prober IS NULL THEN its.held_until IS NULL ELSE its.prober = excluded.prober END

-- name: publish_pauses
-- The longest pause counts, independent of the breaker; a time that is more than two hours away came from a wrong clock.
-- `publish_breakers` has created and locked the rows.
UPDATE cdc_outbox.endpoint_limit AS its
SET paused_until = GREATEST(CASE WHEN its.paused_until <= clock_timestamp() + interval '2 hours' THEN its.paused_until END,
                            clock_timestamp() + make_interval(secs => given.paused))
FROM jsonb_to_recordset(:holds::jsonb) AS given (id text, paused double precision)
JOIN cdc_outbox.endpoint ON endpoint.id = given.id
WHERE its.endpoint = endpoint.number AND given.paused > 0

-- name: add_limits
INSERT INTO cdc_outbox.endpoint_limit (endpoint)
SELECT number FROM cdc_outbox.endpoint WHERE id = ANY (:ids::text[])
ORDER BY number
ON CONFLICT (endpoint) DO NOTHING

-- name: admit
-- Admits requests as far as they may start within :ahead seconds by the endpoint's rate (one each `spacing` seconds,
-- `slack` seconds' worth of them sooner); of an open breaker one, the probe, which has `claim` seconds.  Times further away
-- than anything makes them are of a clock that was wrong.
WITH locked AS MATERIALIZED (
    SELECT wanted.*, its.*
    FROM jsonb_to_recordset(:wanted::jsonb)
         AS wanted (id text, requests integer, spacing double precision, slack double precision, claim double precision)
    JOIN cdc_outbox.endpoint ON endpoint.id = wanted.id
    JOIN cdc_outbox.endpoint_limit AS its ON its.endpoint = endpoint.number
    ORDER BY its.endpoint
    FOR UPDATE OF its
),
timed AS MATERIALIZED (
    SELECT locked.*, clock_timestamp() AS now FROM locked
),
counted AS (
    SELECT endpoint, id, requests, spacing, slack, claim, failed_probes, now,
           LEAST(GREATEST(extract(epoch FROM booked_until - now), 0), :ahead + slack + spacing) AS booked,
           CASE WHEN held_until < now + interval '2 hours' THEN extract(epoch FROM held_until - now)
                WHEN held_until IS NOT NULL THEN 0 END AS held,
           CASE WHEN paused_until BETWEEN now AND now + interval '2 hours'
                THEN extract(epoch FROM paused_until - now) ELSE 0 END AS paused
    FROM timed
),
judged AS MATERIALIZED (
    SELECT counted.*,
           CASE WHEN held > 0 OR paused > 0 THEN 0
                ELSE LEAST(CASE WHEN held IS NULL THEN requests ELSE 1 END,
                           CASE WHEN spacing = 0 THEN requests
                                ELSE GREATEST(floor((:ahead + slack - booked) / spacing) + 1, 0) END)
           END::integer AS admitted
    FROM counted
),
admitted AS (
    UPDATE cdc_outbox.endpoint_limit AS its
    SET booked_until = now + make_interval(secs => booked + admitted * spacing),
        held_until = CASE WHEN held IS NOT NULL THEN now + make_interval(secs => claim) END,
        prober = CASE WHEN held IS NOT NULL THEN :worker END
    FROM judged
    WHERE its.endpoint = judged.endpoint AND judged.admitted > 0
)
SELECT id, admitted, booked::double precision, held::double precision, failed_probes, paused::double precision
FROM judged
