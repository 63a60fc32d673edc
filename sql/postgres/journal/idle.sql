-- From now on writers must NOTIFY; false while a transaction is open that did not. All transactions before the second
-- value have ended: what is not in the journal after this, of those, never will be.
SELECT pg_try_advisory_lock(%(class)s, %(idle)s), pg_snapshot_xmin(pg_current_snapshot())::text
