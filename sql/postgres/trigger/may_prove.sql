-- Which of the privileges of a proof the role lacks.
SELECT coalesce(array_agg(name ORDER BY name), '{}')
FROM (
    SELECT 'USAGE ON SCHEMA cdc' AS name WHERE NOT has_schema_privilege('cdc', 'USAGE')
    UNION ALL
    SELECT needed || ' ON cdc.' || c.relname
    FROM pg_class c
    JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN (
        VALUES ('cdc_probe', 'SELECT'), ('cdc_probe', 'INSERT'), ('cdc_probe', 'UPDATE'), ('cdc_probe', 'DELETE'),
            ('cdc_journal', 'SELECT')
    ) AS wanted (relname, needed) ON wanted.relname = c.relname
    WHERE s.nspname = 'cdc' AND NOT has_table_privilege(c.oid, needed)
) AS missing
