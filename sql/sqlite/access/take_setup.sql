-- The link is used up; nothing when it is another one or has expired.
DELETE FROM access_setup WHERE digest = :digest AND expires_at > :now
