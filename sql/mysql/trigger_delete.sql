-- Journals a deleted row.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger AFTER DELETE ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
    $gap_key;
  $token
  INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `image_before`)
  VALUES (${txn_value}UTC_TIMESTAMP(6), $shape, $op, $before);
END
