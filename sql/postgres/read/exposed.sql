c.relkind = 'p' OR c.relhassubclass
    OR EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL))
    OR EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid)
