-- Connections that hold a metadata lock on a table, those with the longest open transaction first.
SELECT t.`PROCESSLIST_ID`, t.`PROCESSLIST_USER`, COALESCE(t.`PROCESSLIST_HOST`, ''), COALESCE(t.`PROCESSLIST_TIME`, 0)
FROM performance_schema.metadata_locks AS l
JOIN performance_schema.threads AS t ON t.`THREAD_ID` = l.`OWNER_THREAD_ID`
WHERE l.`OBJECT_TYPE` = 'TABLE' AND l.`OBJECT_SCHEMA` = DATABASE() AND l.`OBJECT_NAME` = %s
  AND l.`LOCK_STATUS` = 'GRANTED' AND t.`PROCESSLIST_ID` <> CONNECTION_ID()
ORDER BY t.`PROCESSLIST_TIME` DESC
