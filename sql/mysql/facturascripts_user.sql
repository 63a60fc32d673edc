-- A user of FacturaScripts, as its own sign-in looks it up.
SELECT nick, admin, enabled, password, two_factor_enabled, two_factor_secret_key FROM users IGNORE INDEX FOR GROUP BY (PRIMARY) WHERE nick = %s
