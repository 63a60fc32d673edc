-- MySQL: the number of the transaction's event, unique within the session.  Without one (instrumentation switched off) each
-- row gets a token of its own: finer than transactions, never coarser.
SET @cdc_event = (SELECT `EVENT_ID` FROM `performance_schema`.`events_transactions_current`
  WHERE `THREAD_ID` = PS_CURRENT_THREAD_ID() AND `STATE` = 'ACTIVE');
SET @cdc_txn = IF(@cdc_mark = @cdc_event, @cdc_txn, UUID_SHORT()), @cdc_mark = @cdc_event;
