-- Whether the performance schema records the current transaction of every session (all on by default).
SELECT
  (SELECT COUNT(*) FROM performance_schema.setup_consumers WHERE `ENABLED` = 'YES'
    AND `NAME` IN ('global_instrumentation', 'thread_instrumentation', 'events_transactions_current')) = 3
  AND (SELECT COUNT(*) FROM performance_schema.setup_instruments WHERE `ENABLED` = 'YES' AND `NAME` = 'transaction') = 1
