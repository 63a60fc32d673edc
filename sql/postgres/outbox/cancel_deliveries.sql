-- Ends every unfinished delivery of an endpoint.
UPDATE cdc_outbox.delivery SET state = 4, worker = NULL, finished_at = %(now)s WHERE endpoint = %(number)s AND state < 2
