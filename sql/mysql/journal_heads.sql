-- Visible transactions by their greatest id, one snapshot; served by the index on (txn, id) alone.
SELECT `txn`, COUNT(*), MAX(`id`) AS latest FROM `cdc_journal` GROUP BY `txn` ORDER BY latest LIMIT %s
