-- `promote.sql` for every lane of an endpoint: the oldest of each goes, unless one is leased.
UPDATE delivery SET state = 1
WHERE endpoint = :endpoint AND state = 0 AND event IN (
    SELECT MIN(event) FROM delivery WHERE endpoint = :endpoint AND state < 2 GROUP BY lane HAVING SUM(state) = 0
)
