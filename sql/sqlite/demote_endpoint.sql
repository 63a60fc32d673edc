-- Before `promote_endpoint.sql`: `demote.sql` for every lane of an endpoint.
UPDATE delivery SET state = 0 WHERE endpoint = :endpoint AND state < 2 AND state = 1 AND worker IS NULL
