-- cdc run --role $role
DO $$$$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $literal) THEN
        CREATE ROLE $account LOGIN;
    END IF;
END
$$$$;
REVOKE ALL ON SCHEMA cdc_outbox FROM $account;
REVOKE ALL ON ALL TABLES IN SCHEMA cdc_outbox FROM $account;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA cdc_outbox FROM $account;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cdc_outbox FROM $account;
GRANT CONNECT ON DATABASE $database TO $account;
GRANT USAGE ON SCHEMA cdc_outbox TO $account;
$grants
