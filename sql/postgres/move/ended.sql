-- Whether all of these transactions have ended, as everyone sees it now.
SELECT coalesce(bool_and(pg_visible_in_snapshot(xid::xid8, pg_current_snapshot())), true)
FROM unnest(%(xids)s::text[]) AS xid
