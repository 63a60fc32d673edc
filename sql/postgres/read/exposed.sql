-- Whether planning a read of table c evaluates expressions of the table's. OFFSET 0: so that the server reads the entries of
-- this table; otherwise it may read those of all tables, each time.
c.relkind = 'p' OR c.relhassubclass
    OR EXISTS (
        SELECT FROM pg_index x WHERE x.indrelid = c.oid AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL) OFFSET 0
    )
    OR EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid OFFSET 0)
