-- Trigger function of one table without secret columns; one a table, so that its owner can remove it together with its
-- triggers (DROP FUNCTION … CASCADE) without owning the table.
-- Nothing here can fail on a row that the table itself could take: row_to_json knows every type, no column is named, no
-- sequence is touched, no lock is waited for. OLD and NEW are null where the operation has none. Without the journal,
-- which somebody may have dropped or renamed, nothing is recorded: the ERP's write must not fail.
-- The output settings, which make every session write the same text for the same value, cost 3 µs each: they are there
-- only where the table has columns that need them (bytes, intervals, ranges …) or the server rounds floats by default.
-- The consumer holds the advisory lock exclusively while it listens; who gets it shared keeps it until the transaction
-- ends, so the consumer cannot start listening before it can see everything that was committed without a NOTIFY.
-- NOTIFY could fail at commit when the queue is full or the transaction is to be prepared: then the consumer polls.
CREATE OR REPLACE FUNCTION cdc.$function() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp $settings
AS $$cdc$$
BEGIN
    IF pg_catalog.to_regclass('cdc.cdc_journal') IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO cdc.cdc_journal (xid, lsn, at, table_name, operation, before, after)
    VALUES (
        pg_catalog.pg_current_xact_id(), pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp(),
        TG_TABLE_NAME, TG_OP::"char", pg_catalog.row_to_json(OLD), pg_catalog.row_to_json(NEW)
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
