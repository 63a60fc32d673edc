-- name: set_audit_hash
-- The hash of an entry that has none.
UPDATE audit SET hash = :hash WHERE number = :number
