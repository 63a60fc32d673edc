-- Payloads of events, for good.
UPDATE cdc_outbox.event SET payload = ''
WHERE sequence = ANY (%(events)s::bigint[]) AND octet_length(payload) > 0
