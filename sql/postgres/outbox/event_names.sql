-- The names of events that there are: one look at the index for each.
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM cdc_outbox.event
    UNION ALL
    SELECT (SELECT min(event.name) FROM cdc_outbox.event WHERE event.name > found.name)
    FROM found
    WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL
