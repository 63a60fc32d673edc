-- The names of events that there are: one look at the index for each.
WITH RECURSIVE found (name) AS (
    SELECT MIN(name) FROM event
    UNION ALL
    SELECT (SELECT MIN(event.name) FROM event WHERE event.name > found.name) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL
