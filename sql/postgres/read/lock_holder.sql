-- What holds the consumer lock of this database. Of other roles' sessions the server shows no start and no address. A
-- transaction that was prepared with the lock holds it without a session.
SELECT
    CASE WHEN l.pid IS NULL THEN '' ELSE concat_ws(' ', l.pid, extract(epoch FROM a.backend_start)) END,
    CASE
        WHEN l.pid IS NULL THEN 'Prepared transaction ' || coalesce(quote_literal(x.gid) || ' (role ' || x.owner || ')', '')
        ELSE 'Connection ' || l.pid || ' (' || concat_ws(
            ', ', 'role ' || a.usename, 'from ' || host(a.client_addr), nullif('application ' || a.application_name, 'application ')
        ) || ')'
    END,
    CASE
        WHEN l.pid IS NULL THEN 'ROLLBACK PREPARED ' || coalesce(quote_literal(x.gid), '')
        ELSE 'SELECT pg_terminate_backend(' || l.pid || ')'
    END
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks t ON
    l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_prepared_xacts x ON x.transaction = t.transactionid
WHERE l.locktype = 'advisory' AND l.classid = %(class)s AND l.objid = %(consumer)s AND l.objsubid = 2 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1 LIMIT 1
