-- Trigger function of a table that may have secret columns: the same as function.sql, but images of rows that have one are
-- taken apart and put together without it. json, not jsonb: jsonb refuses some documents that a json column may hold.
-- A row has a secret column if its image has the name as a key: a column that was just added counts at once, and most
-- tables, which have none, are spared most of the trigger's time. Quotes within a text are escaped, so that none looks like
-- a key; a document that has such a key only takes longer.
CREATE OR REPLACE FUNCTION cdc.$function() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp $settings
AS $$cdc$$
DECLARE
    old_image text;
    new_image text;
    changed text[];
BEGIN
    IF pg_catalog.to_regclass('cdc.cdc_journal') IS NULL THEN
        RETURN NULL;
    END IF;
    old_image := pg_catalog.row_to_json(OLD)::text;
    new_image := pg_catalog.row_to_json(NEW)::text;
    IF $found THEN
        changed := (
            SELECT pg_catalog.array_agg(o.key)
            FROM pg_catalog.json_each(old_image::json) AS o
            JOIN pg_catalog.json_each(new_image::json) AS n ON n.key = o.key
            WHERE o.key = ANY ($secrets) AND o.value::text <> n.value::text
        );
        old_image := (
            SELECT pg_catalog.json_object_agg(o.key, o.value)
            FROM pg_catalog.json_each(old_image::json) AS o
            WHERE o.key <> ALL ($secrets)
        );
        new_image := (
            SELECT pg_catalog.json_object_agg(n.key, n.value)
            FROM pg_catalog.json_each(new_image::json) AS n
            WHERE n.key <> ALL ($secrets)
        );
    END IF;
    INSERT INTO cdc.cdc_journal (xid, lsn, at, table_name, operation, secrets_changed, before, after)
    VALUES (
        pg_catalog.pg_current_xact_id(), pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp(),
        TG_TABLE_NAME, TG_OP::"char", changed, old_image, new_image
    );
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared($lock_class, $lock_idle) THEN
        IF pg_catalog.pg_notification_queue_usage() < 0.5
            AND pg_catalog.current_setting('max_prepared_transactions') = '0'
        THEN
            PERFORM pg_catalog.pg_notify('cdc', '');
        END IF;
    END IF;
    RETURN NULL;
END
$$cdc$$;
