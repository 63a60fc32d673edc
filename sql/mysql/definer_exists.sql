-- Whether an account exists (a role too, on MariaDB).
SELECT COUNT(*) FROM mysql.user WHERE `User` = %s AND `Host` = %s
