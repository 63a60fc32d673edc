-- Answers to attempts of deliveries (a JSON list of ids) whose events were expunged.
UPDATE attempt SET answer = ''
WHERE answer <> '' AND delivery IN (
    SELECT delivery.id
    FROM json_each(?) AS given
    CROSS JOIN delivery ON delivery.id = given.value
    CROSS JOIN event ON event.sequence = delivery.event
    WHERE length(event.payload) = 0
)
