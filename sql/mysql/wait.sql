-- Ends when the journal has rows (answers 1), or after about `seconds` (0): the consumer's one round trip while nothing
-- happens.  Rows behind `seen` are looked for every `pause` seconds, which costs microseconds however many deleted rows
-- InnoDB still keeps for old snapshots; rows before it (transactions that committed late) at every fifth look.
CREATE DEFINER = CURRENT_USER PROCEDURE `cdc_wait`(IN seen BIGINT UNSIGNED, IN seconds DOUBLE, IN pause DOUBLE)
  READS SQL DATA
  SQL SECURITY INVOKER
BEGIN
  DECLARE turns INT DEFAULT CEIL(seconds / pause);
  DECLARE turn INT DEFAULT 0;
  DECLARE found BOOLEAN DEFAULT FALSE;
  wait_for_rows: WHILE turn < turns DO
    IF turn % 5 = 0 AND EXISTS (SELECT 1 FROM `cdc_journal` LIMIT 1)
      OR EXISTS (SELECT 1 FROM `cdc_journal` WHERE `id` > seen LIMIT 1) THEN
      SET found = TRUE;
      LEAVE wait_for_rows;
    END IF;
    DO SLEEP(pause);
    SET turn = turn + 1;
  END WHILE;
  SELECT found;
END
