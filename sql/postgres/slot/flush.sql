-- Has the server write its log to the disk now, by a message in the log that nobody reads: on a server where nobody writes,
-- what reading itself logs (hint bits, with checksums) would wait for many seconds, and whoever follows the log with it.
SELECT set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'cdc', '')
