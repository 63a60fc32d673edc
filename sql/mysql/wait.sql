-- Ends when the journal has rows (answers 1), or after about `seconds` (0): the consumer's one round trip while nothing
-- happens.  Rows after `seen` are searched every `pause` seconds, which costs microseconds however many deleted rows
-- InnoDB still keeps for old snapshots; rows before it (transactions that committed late) every fifth time.
-- SELECT … INTO reads a snapshot.  A SELECT in the condition of an IF would lock the rows that it reads, and wait for
-- every transaction that has written one and is still open.
-- $check: a checksum of this text, so that a routine of an earlier version is replaced.
CREATE DEFINER = CURRENT_USER PROCEDURE `cdc_wait`(IN seen BIGINT UNSIGNED, IN seconds DOUBLE, IN pause DOUBLE)
  READS SQL DATA
  SQL SECURITY INVOKER
  COMMENT '$check'
BEGIN
  DECLARE turns INT DEFAULT CEIL(seconds / pause);
  DECLARE turn INT DEFAULT 0;
  DECLARE found BOOLEAN DEFAULT FALSE;
  wait_for_rows: WHILE turn < turns DO
    SELECT EXISTS (SELECT 1 FROM `cdc_journal` WHERE `id` > IF(turn % 5, seen, 0) LIMIT 1) INTO found;
    IF found THEN
      LEAVE wait_for_rows;
    END IF;
    DO SLEEP(pause);
    SET turn = turn + 1;
  END WHILE;
  SELECT found;
END
