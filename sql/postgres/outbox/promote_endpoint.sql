-- promote.sql for every lane of an endpoint: the oldest of each goes, unless one is leased.
UPDATE cdc_outbox.delivery SET state = 1
WHERE endpoint = %(endpoint)s AND state = 0 AND event IN (
    SELECT min(event) FROM cdc_outbox.delivery WHERE endpoint = %(endpoint)s AND state < 2
    GROUP BY lane HAVING sum(state) = 0
)
