-- The schema that has the ERP's tables: the first one of the account's search path with a table.
SELECT s.name
FROM unnest(current_setting('cdc.schemas')::text[]) WITH ORDINALITY AS s (name, place)
ORDER BY EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = s.name AND c.relkind IN ('r', 'p')
) DESC, s.place
LIMIT 1
