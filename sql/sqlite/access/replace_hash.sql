-- The same password in another hash, unless the password was changed meanwhile.
UPDATE access_user SET password_hash = :new WHERE name_key = :name_key AND password_hash = :old
