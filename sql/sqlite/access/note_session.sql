-- A session was used; written unless somebody else just did.
UPDATE access_session SET last_used_at = :now WHERE digest = :digest AND last_used_at <= :noted_before
