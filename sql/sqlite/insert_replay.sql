-- A replay that was asked for.
INSERT INTO replay (id, created_at, actor, selection, rate, total, state)
VALUES (:id, :created_at, :actor, :selection, :rate, :total, :state)
