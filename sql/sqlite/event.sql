-- One event by its id.
SELECT sequence, id, name, source, record, time, payload FROM event WHERE id = ?
