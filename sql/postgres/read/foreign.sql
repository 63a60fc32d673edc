-- The first function of neither a superuser nor this account that planning a read of table c may run: the planner evaluates
-- what does not change in expressions of indexes, statistics and partition keys.
SELECT pg_describe_object(d.classid, d.objid, 0) || ' calls ' || p.oid::regprocedure || ' of role ' || owner.rolname
FROM (
    WITH RECURSIVE tree (oid) AS (
        SELECT c.oid UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
    )
    SELECT 'pg_class'::regclass, oid FROM tree
    UNION ALL
    SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index AS i JOIN tree ON i.indrelid = tree.oid
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext AS s JOIN tree ON s.stxrelid = tree.oid
) AS part (class, oid)
JOIN pg_depend AS d ON d.classid = part.class AND d.objid = part.oid
LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc AS p ON p.oid = coalesce(o.oprcode, CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid END)
JOIN pg_roles AS owner ON owner.oid = p.proowner
WHERE NOT owner.rolsuper AND owner.rolname <> current_user
LIMIT 1
