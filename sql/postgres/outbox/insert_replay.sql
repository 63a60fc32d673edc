-- A replay that was asked for.
INSERT INTO cdc_outbox.replay (id, created_at, actor, selection, rate, total, state)
VALUES (%(id)s, %(created_at)s, %(actor)s, %(selection)s, %(rate)s, %(total)s, %(state)s)
