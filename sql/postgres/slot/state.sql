-- The slot and the publication, as whoever reads them must know them. Column names that differ between versions are read
-- through JSON: invalidation_reason came with 17, conflicting with 16; safe_wal_size and wal_status are in all.
SELECT
    s.slot_name IS NOT NULL,
    s.plugin::text,
    s.database::text = current_database(),
    s.active_pid,
    coalesce(to_json(s)->>'invalidation_reason', CASE WHEN s.wal_status = 'lost' THEN 'wal_removed' END),
    s.confirmed_flush_lsn::text,
    pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint,
    p.oid IS NOT NULL,
    obj_description(p.oid, 'pg_publication'),
    pg_current_wal_insert_lsn()::text,
    (SELECT system_identifier::text FROM pg_control_system())
FROM (SELECT 1) AS always
LEFT JOIN pg_replication_slots s ON s.slot_name = %(slot)s
LEFT JOIN pg_publication p ON p.pubname = %(publication)s
