-- Records the keys of rows that a cascade is about to delete and whose images could not be recorded.
BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
          $gap;
        INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `gap`, `image_before`)
        SELECT ${gap_value}UTC_TIMESTAMP(6), $shape, $op, 1, $key_before FROM $tables WHERE $where $lock;
      END
