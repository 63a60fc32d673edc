-- A backfill that was asked for.
INSERT INTO cdc_outbox.backfill
    (id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state)
VALUES (%(id)s, %(created_at)s, %(actor)s, %(source)s, %(table_name)s, %(condition)s, %(endpoint)s, %(rate)s, %(estimate)s, %(state)s)
