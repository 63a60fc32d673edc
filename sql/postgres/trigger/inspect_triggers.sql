-- Triggers with a name of ours in the ERP's schema; function: name within our schema, null when it is another's.
SELECT
    c.relname::text AS "table",
    t.tgname::text AS name,
    t.tgenabled::text AS enabled,
    t.tgtype::integer AS type,
    t.tgqual IS NOT NULL AS condition,
    CASE WHEN f.nspname = 'cdc' THEN p.proname::text END AS function
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE n.nspname = %s AND t.tgname IN ('_cdc_row', '_cdc_update', '_cdc_truncate')
ORDER BY c.relname, t.tgname
