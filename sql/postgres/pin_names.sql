-- The first statement of every session: from here on names mean what is in pg_catalog, whoever may create objects in other
-- schemas. Where the ERP's tables are is kept: the schemas that the account would have searched, as an array's text.
-- A row policy is an error instead of code of the ERP's account that runs, and the planner evaluates no CHECK of a child.
SELECT
    pg_catalog.set_config('cdc.schemas', pg_catalog.current_schemas(false)::pg_catalog.text, false),
    pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false),
    pg_catalog.set_config('row_security', 'off', false),
    pg_catalog.set_config('constraint_exclusion', 'off', false)
