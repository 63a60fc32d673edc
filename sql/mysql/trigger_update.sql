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
