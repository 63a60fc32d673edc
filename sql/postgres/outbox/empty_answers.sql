-- What endpoints answered to events.
UPDATE cdc_outbox.attempt SET answer = ''
FROM cdc_outbox.delivery
WHERE delivery.event = ANY (%(events)s::bigint[]) AND attempt.delivery = delivery.id AND attempt.answer <> ''
