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
