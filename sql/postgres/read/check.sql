-- For look-ups in one round trip, prepared once in each session: fails unless the name is still that of this table, it is as
-- it was, and planning a read of it evaluates nothing of its own.
PREPARE cdc_check (oid, text, text) AS
SELECT 1 / count(*) FROM pg_class AS c
WHERE c.oid = $$1 AND to_regclass($$2) = c.oid AND c.relkind = 'r' AND c.xmin::text = $$3 AND NOT ($exposed)
