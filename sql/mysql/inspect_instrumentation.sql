-- Whether the performance schema shows the transaction of this session, as the triggers look for it: run in a transaction.
SELECT COUNT(*) FROM performance_schema.events_transactions_current
WHERE `THREAD_ID` = PS_CURRENT_THREAD_ID() AND `STATE` = 'ACTIVE'
