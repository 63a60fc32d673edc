-- What a session sets from which the plugin takes texts of values: as the trigger functions and read/session.sql have it.
-- No time limit for statements: the server decodes what has piled up before it says the first word. A consumer that is
-- gone without a word gives the slot back soon.
SET TimeZone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET wal_sender_timeout = '25s';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0
