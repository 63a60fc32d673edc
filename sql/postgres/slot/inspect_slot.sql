-- The slot with our name, whoever made it. invalid: why the server has given it up. retained: bytes of log kept for it;
-- unread: bytes behind what its reader has confirmed. idle: seconds since somebody read it, as far as the server tells.
SELECT
    s.plugin::text AS plugin,
    coalesce(s.database::text, '') AS database,
    s.active AS active,
    coalesce(
        to_json(s)->>'invalidation_reason', CASE WHEN s.wal_status = 'lost' THEN 'wal_removed' END, ''
    ) AS invalid,
    coalesce(s.wal_status, '') AS wal_status,
    coalesce(pg_wal_lsn_diff(l.now, s.restart_lsn), 0)::bigint AS retained,
    coalesce(pg_wal_lsn_diff(l.now, s.confirmed_flush_lsn), 0)::bigint AS unread,
    extract(epoch FROM now() - (to_json(s)->>'inactive_since')::timestamptz)::double precision AS idle
FROM pg_replication_slots s
CROSS JOIN (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS now
) AS l
WHERE s.slot_name = %(slot)s
