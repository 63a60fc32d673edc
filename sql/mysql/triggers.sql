-- The parts of triggers.

-- name: trigger_insert
-- Journals an inserted row.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger AFTER INSERT ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
    $gap;
  $token
  INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_after`)
  VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, $after);
END

-- name: trigger_update
-- Journals a row that an update really changed, compared byte by byte. The server resolves every column that a statement
-- names whenever it runs it: what changes most is compared first, and the rest only of a row where that is the same.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger AFTER UPDATE ON $table FOR EACH ROW
cdc: BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
    $gap_key;
  IF $same_first THEN
    IF $same_rest THEN
      LEAVE cdc;
    END IF;
  END IF;
  $token
  INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_before`, `image_after`, `secrets`)
  VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, $before, $after, $secrets);
END

-- name: trigger_delete
-- Journals a deleted row.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger AFTER DELETE ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
    $gap_key;
  $token
  INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_before`)
  VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, $before);
END

-- name: trigger_parent
-- Journals what foreign keys are about to do to other tables' rows, since no trigger of those tables runs for it.
-- Locking reads must see rows that are newer than the snapshot, as the cascade does: MariaDB would refuse (error 1020).
-- No cursor names OLD or NEW, directly or as its parameter: after an ALTER of a table that it reads, MariaDB 11.8 parses the
-- cursor again as one of another trigger, which fails or ends the server (docs/upstream.md).
CREATE DEFINER = CURRENT_USER TRIGGER $trigger BEFORE $event ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
$gaps  END;
  IF $condition THEN
    BEGIN
$begin$blocks$end
    END;
  END IF;
END

-- name: cascade
-- One path of foreign keys: the rows at its end, locked as the cascade is going to lock them (a plain read would see an old
-- snapshot; a table that the statement itself changes may only be locked for share), journaled one by one (INSERT … SELECT would keep the AUTO-INC lock to the end of the statement).
    BEGIN
      DECLARE no_more BOOLEAN DEFAULT FALSE;
      DECLARE before_image, after_image LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
      DECLARE changed_rows CURSOR FOR
        SELECT $before, $after FROM $tables WHERE $where $lock;
      DECLARE CONTINUE HANDLER FOR NOT FOUND SET no_more = TRUE;
      DECLARE EXIT HANDLER FOR SQLEXCEPTION
        $handler;
      OPEN changed_rows;
      read_rows: LOOP
        FETCH changed_rows INTO before_image, after_image;
        IF no_more THEN
          LEAVE read_rows;
        END IF;
        $token
        INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_before`, `image_after`)
        VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, before_image, after_image);
      END LOOP;
      CLOSE changed_rows;
    END;

-- name: gap
-- What a trigger writes when it could not record a change; names no column of the table, so that it cannot fail for the
-- same reason.
INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `gap`) VALUES (${gap_value}UTC_TIMESTAMP(6), $shape, $op, 1)

-- name: gap_key
-- Records the key of a row whose images could not be recorded; without the key where even that cannot be named any more.
BEGIN
      DECLARE EXIT HANDLER FOR SQLEXCEPTION
        $gap;
      INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `gap`, `image_before`, `image_after`)
      VALUES (${gap_value}UTC_TIMESTAMP(6), $shape, $op, 1, $key_before, $key_after);
    END

-- name: gap_cascade
-- Records the keys of rows that a cascade is about to delete and whose images could not be recorded.
BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
          $gap;
        INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `gap`, `image_before`)
        SELECT ${gap_value}UTC_TIMESTAMP(6), $shape, $op, 1, $key_before FROM $tables WHERE $where $lock;
      END

-- name: token_gtid
-- MariaDB with a binlog: @@last_gtid is the same all through a transaction and new after it.  A session that does not write
-- the binlog gets a token for each row: finer than its transactions, never coarser.
SET @cdc_txn = IF(@@sql_log_bin AND @@log_bin AND @cdc_mark <=> CAST(@@last_gtid AS BINARY), @cdc_txn, UUID_SHORT()),
  @cdc_mark = IF(@@sql_log_bin AND @@log_bin, CAST(@@last_gtid AS BINARY), NULL);

-- name: token_performance_schema
-- MySQL: the number of the transaction's event, unique within the session.  Without one (instrumentation switched off) each
-- row gets a token of its own: finer than transactions, never coarser.
-- The thread's number in a variable: compared with a column, the function is evaluated once, when the trigger is first
-- prepared, and every session that shares that copy of the table would search for the thread of the first one.
-- The state in the list of columns: as a condition it takes the server a tenth longer.
SET @cdc_thread = PS_CURRENT_THREAD_ID();
SET @cdc_event = (SELECT IF(`STATE` = 'ACTIVE', `EVENT_ID`, NULL)
  FROM `performance_schema`.`events_transactions_current` WHERE `THREAD_ID` = @cdc_thread);
SET @cdc_txn = IF(@cdc_mark = @cdc_event, @cdc_txn, UUID_SHORT()), @cdc_mark = @cdc_event;

-- name: token_row
-- MySQL without the right to read its performance schema, if the DBA accepts it: each row is a transaction of its own.
SET @cdc_txn = UUID_SHORT();
