-- New lanes (merges followed) of deliveries, by id only: a term on the endpoint would have its whole lane index read for
-- each of them.
UPDATE cdc_outbox.delivery SET lane = COALESCE(alias.root, given.lane)
FROM unnest(%(ids)s::bigint[], %(lanes)s::bigint[]) AS given (id, lane)
LEFT JOIN LATERAL (SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1) AS alias ON true
WHERE delivery.id = given.id
