-- The counts of finished deliveries, from all of them; new endpoints and attempts are numbered behind those that came.
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT endpoint, state, 0, count(*) FROM cdc_outbox.delivery WHERE state >= 2 GROUP BY endpoint, state;
SELECT setval(pg_get_serial_sequence('cdc_outbox.endpoint', 'number'),
              (SELECT COALESCE(max(number), 0) + 1 FROM cdc_outbox.endpoint), false);
SELECT setval(pg_get_serial_sequence('cdc_outbox.attempt', 'id'),
              (SELECT COALESCE(max(id), 0) + 1 FROM cdc_outbox.attempt), false)
