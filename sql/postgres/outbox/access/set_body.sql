-- An answer sealed anew.
UPDATE cdc_outbox.idempotency SET body = %(body)s WHERE actor = %(actor)s AND request_key = %(request_key)s AND body IS NOT NULL
