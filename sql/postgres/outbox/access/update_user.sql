-- What may change of a user.
UPDATE cdc_outbox.access_user SET role = %(role)s, password_hash = %(password_hash)s, totp_secret = %(totp_secret)s, stamp = %(stamp)s
WHERE name_key = %(name_key)s
