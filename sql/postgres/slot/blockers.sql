-- The oldest transaction that keeps a slot from being made: one that writes, or is prepared. Not the text of queries.
SELECT * FROM (
    SELECT
        'connection ' || a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
        extract(epoch FROM clock_timestamp() - a.xact_start)::double precision AS age,
        'SELECT pg_terminate_backend(' || a.pid || ')'
    FROM pg_stat_activity a
    WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
    UNION ALL
    SELECT
        'prepared transaction ' || quote_literal(x.gid), x.owner::text, '', 'prepared',
        extract(epoch FROM clock_timestamp() - x.prepared)::double precision,
        'ROLLBACK PREPARED ' || quote_literal(x.gid) || ' (or COMMIT PREPARED)'
    FROM pg_prepared_xacts x
) AS open
ORDER BY age DESC LIMIT 1
