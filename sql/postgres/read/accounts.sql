-- What accounts of the server may do, as its catalogue says.

-- name: known
-- An account. foreign: it administers the server, or owns tables that are not ours in this database. elsewhere: it has
-- rights on another database, or in one.
SELECT
    r.rolsuper OR r.rolcreaterole OR EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p') AND n.nspname <> 'cdc'
    ) AS foreign,
    EXISTS (
        SELECT FROM pg_shdepend s JOIN pg_database d ON d.datname = current_database()
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
            AND (s.dbid NOT IN (0, d.oid) OR s.classid = 'pg_database'::regclass AND s.objid <> d.oid)
    ) AS elsewhere
FROM pg_roles r
WHERE r.rolname = %s

-- name: connecting
-- Roles that may connect to this database only because everybody may: those with rights on it or in it, and those of open
-- sessions.  No row where not everybody may connect.
SELECT DISTINCT r.rolname::text
FROM pg_database d
JOIN pg_roles r ON NOT r.rolsuper AND r.rolname !~ '^pg_'
WHERE d.datname = current_database() AND has_database_privilege('public', d.oid, 'CONNECT') AND (
    EXISTS (
        SELECT FROM pg_shdepend s
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
            AND (s.dbid = d.oid OR s.classid = 'pg_database'::regclass AND s.objid = d.oid)
    )
    OR EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid AND a.datid = d.oid)
)
ORDER BY 1

-- name: everybody_connects
-- Whether every role of the server may connect to this database.
SELECT has_database_privilege('public', current_database(), 'CONNECT')

-- name: owner
-- The role that has installed: it owns our schema, or our publication.
SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'cdc'
UNION ALL
SELECT pg_get_userbyid(pubowner)::text FROM pg_publication WHERE pubname = 'cdc'
LIMIT 1

-- name: readers
-- Of these roles, those that may connect to this database and read a table of it, with the first such table.
SELECT r.rolname::text, min(n.nspname || '.' || c.relname)
FROM pg_roles r
CROSS JOIN pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rolname = ANY (%s::text[])
    AND has_database_privilege(r.oid, current_database(), 'CONNECT')
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND has_schema_privilege(r.oid, n.oid, 'USAGE')
    AND has_any_column_privilege(r.oid, c.oid, 'SELECT')
GROUP BY r.rolname
ORDER BY 1

-- name: replicating
-- Of these roles, those that may read the log of all databases.
SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s::text[]) AND (rolreplication OR rolsuper)
