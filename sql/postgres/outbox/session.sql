-- Of every session of the outbox: our own time zone; no waiting for ever for a lock, and no lock held for ever by a
-- process that stands still; small statements, planned once for tables of any size: by index, row by row.
SET TIME ZONE 'UTC';
SET default_transaction_isolation = 'read committed';
SET default_transaction_read_only = off;
SET synchronous_commit = $commit;
SET lock_timeout = '10s';
SET idle_in_transaction_session_timeout = '30s';
SET jit = off;
SET enable_seqscan = $plain;
SET enable_hashjoin = $plain;
SET enable_mergejoin = $plain
