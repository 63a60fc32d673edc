-- MariaDB tells who holds a metadata lock only through a plugin; this names the likely ones: connections with an open InnoDB
-- transaction, the oldest first, those in this database before others.
SELECT p.`ID`, p.`USER`, p.`HOST`, p.`TIME`
FROM information_schema.INNODB_TRX AS x
JOIN information_schema.PROCESSLIST AS p ON p.`ID` = x.`trx_mysql_thread_id`
WHERE p.`ID` <> CONNECTION_ID()
ORDER BY p.`DB` <=> DATABASE() DESC, x.`trx_started`
