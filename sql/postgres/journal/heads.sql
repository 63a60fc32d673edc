-- Tokens of transactions and how many rows they have, in the order of the latest moment at which one of their triggers
-- ran; read from the index alone.  One row: a client needs longer for thousands than the server for the whole.  And
-- libpq keeps a buffer of that size (fe-misc.c, pqCheckInBufferSpace), so the rows that follow are taken in large pieces.
SELECT
    string_agg(xid::text || '.' || (first - '0/0'::pg_lsn)::text, ',' ORDER BY latest),
    string_agg(rows::text, ',' ORDER BY latest)
FROM (
    SELECT xid, min(lsn) AS first, max(lsn) AS latest, count(*) AS rows
    FROM cdc.cdc_journal
    WHERE xid >= %(floor)s::xid8
    GROUP BY xid
    ORDER BY latest
    LIMIT %(limit)s
) AS heads
