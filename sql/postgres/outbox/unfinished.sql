-- How many deliveries of an endpoint are not finished, up to a limit.
SELECT count(*)
FROM (SELECT FROM cdc_outbox.delivery
      WHERE endpoint = (SELECT number FROM cdc_outbox.endpoint WHERE id = %(endpoint)s) AND state < 2
      LIMIT %(limit)s) AS counted
