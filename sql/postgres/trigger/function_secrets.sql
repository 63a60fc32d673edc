-- Trigger function of a table that may have secret columns: the same as function.sql, but images of rows that have one are
-- taken apart and put together without it. json, not jsonb: jsonb refuses some documents that a json column may hold.
-- A row has a secret column if its image has the name as a key: a column that was just added counts at once, and most
-- tables, which have none, are spared most of the trigger's time. Quotes within a text are escaped, so that none looks like
-- a key; a document that has such a key only takes longer.
CREATE OR REPLACE FUNCTION cdc.$function() RETURNS trigger
LANGUAGE plpgsql $settings
AS $$cdc$$
DECLARE
    old_image pg_catalog.text;
    new_image pg_catalog.text;
    changed pg_catalog.text[];
    journaled boolean;
BEGIN
    IF OLD OPERATOR(pg_catalog.*=) NEW THEN
        RETURN NULL;
    END IF;
    old_image := pg_catalog.row_to_json(OLD)::pg_catalog.text;
    new_image := pg_catalog.row_to_json(NEW)::pg_catalog.text;
    IF $found THEN
        changed := (
            SELECT pg_catalog.array_agg(o.key)
            FROM pg_catalog.json_each(old_image::pg_catalog.json) AS o
            JOIN pg_catalog.json_each(new_image::pg_catalog.json) AS n ON n.key OPERATOR(pg_catalog.=) o.key
            WHERE o.key OPERATOR(pg_catalog.=) ANY ($secrets)
                AND o.value::pg_catalog.text OPERATOR(pg_catalog.<>) n.value::pg_catalog.text
        );
        old_image := (
            SELECT pg_catalog.json_object_agg(o.key, o.value)
            FROM pg_catalog.json_each(old_image::pg_catalog.json) AS o
            WHERE o.key OPERATOR(pg_catalog.<>) ALL ($secrets)
        );
        new_image := (
            SELECT pg_catalog.json_object_agg(n.key, n.value)
            FROM pg_catalog.json_each(new_image::pg_catalog.json) AS n
            WHERE n.key OPERATOR(pg_catalog.<>) ALL ($secrets)
        );
    END IF;
    IF pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('cdc'), 'USAGE')
        AND pg_catalog.has_function_privilege(pg_catalog.to_regproc('cdc.cdc_append'), 'EXECUTE')
    THEN
        journaled := cdc.cdc_append($name, TG_OP::pg_catalog."char", changed, old_image, new_image);
    END IF;
    RETURN NULL;
END
$$cdc$$;
