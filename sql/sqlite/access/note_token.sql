-- A token was used; written unless somebody else just did.
UPDATE access_token SET last_used_at = :now
WHERE digest = :digest AND (last_used_at IS NULL OR last_used_at <= :noted_before)
