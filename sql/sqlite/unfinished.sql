-- How many deliveries of an endpoint are not finished, up to a limit.
SELECT COUNT(*)
FROM (SELECT 1 FROM delivery WHERE endpoint = (SELECT number FROM endpoint WHERE id = :endpoint) AND state < 2 LIMIT :limit)
