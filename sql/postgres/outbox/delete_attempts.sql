-- All attempts of deliveries.
DELETE FROM cdc_outbox.attempt WHERE delivery = ANY (%(ids)s::bigint[])
