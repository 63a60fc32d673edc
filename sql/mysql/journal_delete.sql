-- Rows by primary key (a JSON array) under READ COMMITTED: locks these rows and no gap, so that triggers never wait.  The
-- join order and the index are forced: for a list of values the server may scan the whole journal instead, and wait there
-- for the row of a transaction that is still open.
DELETE j FROM JSON_TABLE(%s, '$[*]' COLUMNS (`id` BIGINT UNSIGNED PATH '$')) AS wanted
STRAIGHT_JOIN `cdc_journal` AS j FORCE INDEX (PRIMARY) ON j.`id` = wanted.`id`
