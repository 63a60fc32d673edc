-- New lanes (merges followed) of unfinished deliveries of an endpoint.
UPDATE cdc_outbox.delivery SET lane = COALESCE(alias.root, given.lane)
FROM unnest(%(ids)s::bigint[], %(lanes)s::bigint[]) AS given (id, lane)
LEFT JOIN cdc_outbox.lane_alias AS alias ON alias.lane = given.lane
WHERE delivery.id = given.id AND delivery.endpoint = %(endpoint)s AND delivery.state < 2
