-- promote.sql for every lane of an endpoint: the oldest of each goes, unless one is leased.
-- (Found again by id only: a term on the endpoint would have its whole index of lanes read for each of them.)
WITH oldest AS MATERIALIZED (
    SELECT (array_agg(id ORDER BY event))[1] AS id
    FROM cdc_outbox.delivery
    WHERE endpoint = %(endpoint)s AND state < 2
    GROUP BY lane
    HAVING sum(state) = 0
)
UPDATE cdc_outbox.delivery SET state = 1 FROM oldest WHERE delivery.id = oldest.id
