-- For journal_heads.sql: thousands of numbers of up to 20 digits.  For journal_rows.sql: a MariaDB that is given a
-- thousand transactions makes a table of them, and sorts whole rows then.
SET @@session.group_concat_max_len = 1000000 /*M! , @@session.in_predicate_conversion_threshold = 0 */
