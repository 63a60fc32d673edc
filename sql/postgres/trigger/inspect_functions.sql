-- Trigger functions in our schema.
SELECT p.proname::text AS name, p.prosrc AS source, p.prosecdef AS definer, coalesce(p.proconfig, '{}') AS settings
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'cdc' AND p.prorettype = 'trigger'::regtype AND p.pronargs = 0
ORDER BY p.proname
