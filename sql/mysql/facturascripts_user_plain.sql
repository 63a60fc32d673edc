-- A user of a FacturaScripts that has no second factor yet.
SELECT nick, admin, enabled, password FROM users IGNORE INDEX FOR GROUP BY (PRIMARY) WHERE nick = %s
