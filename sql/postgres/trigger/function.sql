-- Trigger function of one table without secret columns; one a table, so that its owner can remove it together with its
-- triggers (DROP FUNCTION … CASCADE) without owning the table.
-- It runs with the rights of whoever writes the row, as does all that the ERP's account can hang on a row: row_to_json
-- calls a type's cast to json, which that account may define. Only cdc_append (append.sql) has our rights, and gets texts.
-- Nothing here can fail on a row that the table itself could take: row_to_json knows every type, no column is named, no
-- sequence is touched, no lock is waited for. OLD and NEW are null where the operation has none. Without cdc_append, which
-- somebody may have dropped, renamed or taken away, nothing is recorded: the ERP's write must not fail.
-- A row that did not change writes nothing. The bytes are compared (*=): no column is named, so none is held back from ALTER
-- TABLE, and types without an equality operator (json, point) compare as well.
-- All names are qualified: pinning the search path takes longer. Settings, which make every session write the same text for
-- the same value, cost 3 µs each: they are there only where the table has columns that need them (bytes, intervals, ranges …)
-- or the server rounds floats by default.
CREATE OR REPLACE FUNCTION cdc.$function() RETURNS trigger
LANGUAGE plpgsql $settings
AS $$cdc$$
DECLARE
    journaled boolean;
BEGIN
    IF OLD OPERATOR(pg_catalog.*=) NEW THEN
        RETURN NULL;
    END IF;
    IF pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('cdc'), 'USAGE')
        AND pg_catalog.has_function_privilege(pg_catalog.to_regproc('cdc.cdc_append'), 'EXECUTE')
    THEN
        journaled := cdc.cdc_append(
            $name, TG_OP::pg_catalog."char", NULL,
            pg_catalog.row_to_json(OLD)::pg_catalog.text, pg_catalog.row_to_json(NEW)::pg_catalog.text
        );
    END IF;
    RETURN NULL;
END
$$cdc$$;
