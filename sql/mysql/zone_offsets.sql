-- Seconds that the session's zone is ahead of UTC at each of these moments (a JSON array of seconds since 1970), in their
-- order; null where the server cannot say.
SELECT TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', FROM_UNIXTIME(moments.`moment`)) - moments.`moment`
FROM JSON_TABLE(%s, '$[*]' COLUMNS (`number` FOR ORDINALITY, `moment` BIGINT PATH '$')) AS moments
ORDER BY moments.`number`
