-- Journals a row that an update really changed, compared byte by byte.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger AFTER UPDATE ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
    $gap;
  IF NOT ($same) THEN
    $token
    INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_before`, `image_after`, `secrets`)
    VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, $before, $after, $secrets);
  END IF;
END
