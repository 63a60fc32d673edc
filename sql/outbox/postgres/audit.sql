-- name: set_audit_hash
-- Hashes of entries that have none.
UPDATE cdc_outbox.audit SET hash = given.hash
FROM unnest(:number::bigint[], :hash::text[]) AS given (number, hash)
WHERE audit.number = given.number
