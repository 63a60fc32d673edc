-- Journals an inserted row.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger AFTER INSERT ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
    $gap;
  $token
  INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_after`)
  VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, $after);
END
