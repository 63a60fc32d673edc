-- `promote.sql` for every lane of an endpoint: the oldest of each goes, unless one is leased.
UPDATE delivery SET state = 1
WHERE state = 0 AND id IN (
    SELECT MIN(id) FROM delivery WHERE endpoint = :endpoint AND state < 2 GROUP BY lane HAVING SUM(state) = 0
)
