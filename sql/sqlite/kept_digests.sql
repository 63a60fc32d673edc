-- Kept keys of a table and their digests, behind one key and up to another, in order.
SELECT key, digest FROM kept_row
WHERE source = :source AND table_name = :table AND key > :after AND (key <= :until OR :until IS NULL)
ORDER BY key LIMIT :limit
