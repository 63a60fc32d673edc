-- What may change of a user.
UPDATE access_user SET role = :role, password_hash = :password_hash, totp_secret = :totp_secret, stamp = :stamp
WHERE name_key = :name_key
