-- One event by its id.
SELECT sequence, id, name, source, record, "time", payload FROM cdc_outbox.event WHERE id = %(id)s
