-- A user of a FacturaScripts that has no second factor yet.
SELECT nick, admin, enabled, password FROM $users WHERE nick = %s
