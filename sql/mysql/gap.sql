-- What a trigger writes when it could not record a change; names no column of the table, so that it cannot fail for the
-- same reason.
INSERT INTO `cdc_journal` (${txn_name}`at`, `shape`, `op`, `gap`) VALUES (${gap_value}UTC_TIMESTAMP(6), $shape, $op, 1)
