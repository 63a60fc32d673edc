-- Answers to attempts of deliveries whose events were expunged.
UPDATE cdc_outbox.attempt SET answer = ''
FROM cdc_outbox.delivery
JOIN cdc_outbox.event ON event.sequence = delivery.event
WHERE delivery.id = ANY (%(ids)s::bigint[]) AND octet_length(event.payload) = 0
  AND attempt.delivery = delivery.id AND attempt.answer <> ''
