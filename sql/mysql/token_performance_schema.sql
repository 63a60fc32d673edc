-- MySQL: the number of the transaction's event, unique within the session.  Without one (instrumentation switched off) each
-- row gets a token of its own: finer than transactions, never coarser.
-- The thread's number in a variable: compared with a column, the function is evaluated once, when the trigger is first
-- prepared, and every session that shares that copy of the table would search for the thread of the first one.
-- The state in the list of columns: as a condition it takes the server a tenth longer.
SET @cdc_thread = PS_CURRENT_THREAD_ID();
SET @cdc_event = (SELECT IF(`STATE` = 'ACTIVE', `EVENT_ID`, NULL)
  FROM `performance_schema`.`events_transactions_current` WHERE `THREAD_ID` = @cdc_thread);
SET @cdc_txn = IF(@cdc_mark = @cdc_event, @cdc_txn, UUID_SHORT()), @cdc_mark = @cdc_event;
