-- A backfill that was asked for.
INSERT INTO backfill
    (id, created_at, actor, source, table_name, condition, endpoint, rate, estimate, state)
VALUES (:id, :created_at, :actor, :source, :table_name, :condition, :endpoint, :rate, :estimate, :state)
