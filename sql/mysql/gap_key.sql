-- Records the key of a row whose images could not be recorded; without the key where even that cannot be named any more.
BEGIN
      DECLARE EXIT HANDLER FOR SQLEXCEPTION
        $gap;
      INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `gap`, `image_before`, `image_after`)
      VALUES (${gap_value}UTC_TIMESTAMP(6), $shape, $op, 1, $key_before, $key_after);
    END
