-- Begins a transaction that may change which deliveries are active: $lock is pg_advisory_xact_lock (of one that may put
-- deliveries into any lane) or pg_advisory_xact_lock_shared (of one that ends what it leased).  $commit: on waits for
-- the disk.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL synchronous_commit = $commit;
SELECT $lock(1667523328, 4)
