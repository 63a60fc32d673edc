-- The slot and the publication, as whoever reads them must know them; a standby has no end of the log. What not all
-- versions have is read through JSON: invalidation_reason came with 17.
SELECT
    s.slot_name IS NOT NULL,
    s.plugin::text,
    s.database::text = current_database(),
    s.active_pid,
    coalesce(to_json(s)->>'invalidation_reason', CASE WHEN s.wal_status = 'lost' THEN 'wal_removed' END),
    s.confirmed_flush_lsn::text,
    CASE WHEN NOT l.standby THEN pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint END,
    p.oid IS NOT NULL,
    obj_description(p.oid, 'pg_publication'),
    CASE WHEN NOT l.standby THEN pg_current_wal_insert_lsn()::text END,
    (SELECT system_identifier::text FROM pg_control_system()),
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
FROM (SELECT pg_is_in_recovery() AS standby) AS l
LEFT JOIN pg_replication_slots s ON s.slot_name = %(slot)s
LEFT JOIN pg_publication p ON p.pubname = %(publication)s
