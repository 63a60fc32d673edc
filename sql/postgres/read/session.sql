-- What every reading session sets; the time zone that the database has for others (its local time), and whether its
-- triggers may send NOTIFY at all (a transaction that did could not be prepared).
-- enable_seqscan: statistics of a table that is empty one moment and full the next mislead the planner; jit: never pays.
-- synchronous_commit: all that such a session writes is that rows of the journal go, which are stored by then; after a
-- crash of the server they may come again, and are known. So it waits for no disk, and holds up nobody who does.
-- The output settings are those of the trigger functions, so that a row read and a row journaled have the same text.
SELECT
    current_setting('TimeZone'),
    current_setting('max_prepared_transactions') = '0',
    set_config('TimeZone', 'UTC', false),
    set_config('enable_seqscan', 'off', false),
    set_config('jit', 'off', false),
    set_config('synchronous_commit', 'off', false),
    set_config('datestyle', 'ISO', false),
    set_config('intervalstyle', 'postgres', false),
    set_config('bytea_output', 'hex', false),
    set_config('extra_float_digits', '1', false),
    set_config('statement_timeout', %s, false)
