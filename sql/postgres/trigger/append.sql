-- What trigger functions, which have the writer's rights, call to write a journal row with ours. Texts come in, and nothing
-- of the ERP's account runs here. All names are qualified: pinning the search path takes longer.
-- Everybody may call it. A session of the account that owns the tables ($writers, empty where several do) may write what a
-- row says anyhow; any other must have written to the table in this transaction, by the server's own counters, or hold
-- the lock of TRUNCATE. Only a superuser can switch the counters off: then everybody is believed.
-- Without the journal, which somebody may have dropped or renamed, nothing is recorded: the ERP's write must not fail.
-- The consumer holds the advisory lock exclusively while it listens; who gets it shared keeps it until the transaction
-- ends, so the consumer cannot start listening before it can see everything that was committed without a NOTIFY.
-- NOTIFY could fail at commit when the queue is full or the transaction is to be prepared: then the consumer polls.
CREATE OR REPLACE FUNCTION cdc.cdc_append(
    written pg_catalog.name, op pg_catalog."char", secrets pg_catalog.text[],
    old_image pg_catalog.text, new_image pg_catalog.text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
AS $$cdc$$
DECLARE
    journaled boolean;
    relation pg_catalog.oid;
BEGIN
    IF pg_catalog.to_regclass('cdc.cdc_journal') IS NULL OR SESSION_USER OPERATOR(pg_catalog.<>) ALL ($writers) THEN
        IF pg_catalog.to_regclass('cdc.cdc_journal') IS NULL THEN
            RETURN journaled;
        END IF;
        IF pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace($namespace), 'USAGE') THEN
            relation := pg_catalog.to_regclass($prefix OPERATOR(pg_catalog.||) pg_catalog.quote_ident(written));
        END IF;
        IF (
            pg_catalog.pg_stat_get_xact_tuples_inserted(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(relation)
        ) OPERATOR(pg_catalog.>) 0 AND op OPERATOR(pg_catalog.<>) 'T' THEN
            NULL; -- as nearly always; the query below takes longer than the write
        ELSIF NOT EXISTS (
            SELECT
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
            CROSS JOIN LATERAL (
                SELECT c.oid UNION ALL SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) AS t
            ) AS part (oid)
            WHERE c.relname OPERATOR(pg_catalog.=) written
                AND n.nspname OPERATOR(pg_catalog.=) CASE WHEN written OPERATOR(pg_catalog.=) '$probe' THEN 'cdc' ELSE $schema END
                AND CASE
                    WHEN pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.=) 'off' THEN true
                    WHEN op OPERATOR(pg_catalog.=) 'T' THEN EXISTS (
                        SELECT FROM pg_catalog.pg_locks AS l
                        WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
                            AND l.relation OPERATOR(pg_catalog.=) part.oid
                            AND l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' AND l.granted
                    )
                    ELSE (
                        pg_catalog.pg_stat_get_xact_tuples_inserted(part.oid)
                        OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(part.oid)
                        OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(part.oid)
                    ) OPERATOR(pg_catalog.>) 0
                END
        ) THEN
            RETURN journaled;
        END IF;
    END IF;
    INSERT INTO cdc.cdc_journal (xid, lsn, at, table_name, operation, secrets_changed, before, after)
    VALUES (
        pg_catalog.pg_current_xact_id(), pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp(),
        written, op, secrets, old_image, new_image
    );
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared($lock_class, $lock_idle) THEN
        IF pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5
            AND pg_catalog.current_setting('max_prepared_transactions') OPERATOR(pg_catalog.=) '0'
        THEN
            journaled := pg_catalog.pg_notify('cdc', '') IS NULL; -- PERFORM would be a query, which takes longer
        END IF;
    END IF;
    RETURN journaled;
END
$$cdc$$;
GRANT EXECUTE ON FUNCTION cdc.cdc_append TO PUBLIC;
GRANT USAGE ON SCHEMA cdc TO PUBLIC;
