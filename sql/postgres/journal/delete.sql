-- Forget whole transactions. The first row's lsn must be the one in the token: after a fail-over that lost commits, the
-- server gives the same transaction ids again.
DELETE FROM cdc.cdc_journal AS j
USING unnest(%(xids)s::xid8[], %(lsns)s::pg_lsn[]) AS done (xid, lsn)
WHERE j.xid = done.xid
    AND EXISTS (SELECT FROM cdc.cdc_journal AS f WHERE f.xid = done.xid AND f.lsn = done.lsn)
