-- Waits for rows of the journal.  No routine of the ERP's database: its account could replace that, and have the text run
-- with the rights of ours.

-- name: look
-- MySQL: a row when the journal has one after this one.
SELECT 1 FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) WHERE `id` > %s LIMIT 1

-- name: turns
-- MySQL: what the block below does, in a statement. A row when the journal has one, committed or not: it is run as READ
-- UNCOMMITTED, since any other statement sees one moment only. The parameters are the numbers of the turns, the last row
-- that was read, and the pause, in the condition, since SLEEP returns 0. While it runs, nobody alters the journal.
SELECT /*+ MAX_EXECUTION_TIME(60000) */ 1
FROM JSON_TABLE(%s, '$[*]' COLUMNS (`turn` INT PATH '$')) AS `turns`
WHERE (SELECT 1 FROM `cdc_journal` FORCE INDEX (PRIMARY) WHERE `id` > IF(MOD(`turns`.`turn`, 5), %s, 0) LIMIT 1) OR SLEEP(%s)
LIMIT 1

-- name: block
-- MariaDB: ends when the journal has rows (answers 1), or after about `seconds` (0): the consumer's one round trip while
-- nothing happens.  Rows after `seen` are searched every `pause` seconds, which costs microseconds however many deleted
-- rows InnoDB still keeps for old snapshots; rows before it (transactions that committed late) every fifth time.
-- SELECT … INTO reads a snapshot.  A SELECT in the condition of an IF would lock the rows that it reads, and wait for
-- every transaction that has written one and is still open.
BEGIN NOT ATOMIC
  DECLARE seen BIGINT UNSIGNED DEFAULT %s;
  DECLARE turns INT DEFAULT CEIL(%s / %s);
  DECLARE turn INT DEFAULT 0;
  DECLARE found BOOLEAN DEFAULT FALSE;
  wait_for_rows: WHILE turn < turns DO
    SELECT EXISTS (
      SELECT 1 FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) WHERE `id` > IF(MOD(turn, 5), seen, 0) LIMIT 1
    ) INTO found;
    IF found THEN
      LEAVE wait_for_rows;
    END IF;
    DO SLEEP(%s);
    SET turn = turn + 1;
  END WHILE;
  SELECT found;
END
