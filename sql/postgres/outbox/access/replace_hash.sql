-- The same password in another hash, unless the password was changed meanwhile.
UPDATE cdc_outbox.access_user SET password_hash = %(new)s WHERE name_key = %(name_key)s AND password_hash = %(old)s
