-- Tables whose rows a foreign key within the database may delete or change by itself.
SELECT DISTINCT r.`TABLE_NAME` FROM information_schema.REFERENTIAL_CONSTRAINTS AS r
WHERE r.`CONSTRAINT_SCHEMA` = DATABASE()
  AND (r.`DELETE_RULE` IN ('CASCADE', 'SET NULL') OR r.`UPDATE_RULE` IN ('CASCADE', 'SET NULL'))
ORDER BY r.`TABLE_NAME`
