-- Visible transactions by their greatest id, one snapshot; served by the index on (txn, id) alone.  One row: the driver
-- needs longer for many than the server for the whole.  The last column tells whether the server cut one of the others.
SELECT
    GROUP_CONCAT(`txn` ORDER BY `latest`), GROUP_CONCAT(`changes` ORDER BY `latest`),
    CAST(SUM(LENGTH(`txn`) + LENGTH(`changes`) + 2) - 2 AS SIGNED)
FROM (
    SELECT `txn`, COUNT(*) AS `changes`, MAX(`id`) AS `latest` FROM `cdc_journal`
    IGNORE INDEX FOR ORDER BY (PRIMARY)
    GROUP BY `txn` ORDER BY `latest` LIMIT %s
) AS `heads`
