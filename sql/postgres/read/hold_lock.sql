-- Whoever holds the consumer lock asks something every few seconds. A host that is gone without a word must not keep it:
-- the server ends the session. What not all versions have is left out: idle_session_timeout came with 14.
SELECT
    set_config('tcp_keepalives_idle', '10', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false),
    set_config('tcp_user_timeout', '20000', false),
    set_config('idle_in_transaction_session_timeout', %(seconds)s, false),
    CASE
        WHEN current_setting('server_version_num')::integer >= 140000
        THEN set_config('idle_session_timeout', %(seconds)s, false)
    END
