-- Trigger function of a table with secret columns: the same as function.sql, but the images are taken apart and put
-- together without them. json, not jsonb: jsonb refuses some documents that a json column may hold.
CREATE OR REPLACE FUNCTION cdc.$function() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp $settings
AS $$cdc$$
BEGIN
    IF pg_catalog.to_regclass('cdc.cdc_journal') IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO cdc.cdc_journal (xid, lsn, at, table_name, operation, secrets_changed, before, after)
    VALUES (
        pg_catalog.pg_current_xact_id(), pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp(),
        TG_TABLE_NAME, TG_OP::"char",
        (
            SELECT pg_catalog.array_agg(o.key)
            FROM pg_catalog.json_each(pg_catalog.row_to_json(OLD)) AS o
            JOIN pg_catalog.json_each(pg_catalog.row_to_json(NEW)) AS n ON n.key = o.key
            WHERE o.key = ANY ($secrets) AND o.value::text <> n.value::text
        ),
        (
            SELECT pg_catalog.json_object_agg(o.key, o.value)
            FROM pg_catalog.json_each(pg_catalog.row_to_json(OLD)) AS o
            WHERE o.key <> ALL ($secrets)
        ),
        (
            SELECT pg_catalog.json_object_agg(n.key, n.value)
            FROM pg_catalog.json_each(pg_catalog.row_to_json(NEW)) AS n
            WHERE n.key <> ALL ($secrets)
        )
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
