-- Before promote_endpoint.sql: demote.sql for every lane of an endpoint.
UPDATE cdc_outbox.delivery SET state = 0 WHERE endpoint = %(endpoint)s AND state = 1 AND worker IS NULL
