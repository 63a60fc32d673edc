-- The table's owner may read what is in our schema, or a pg_dump under that account would fail. It holds no secrets.
GRANT USAGE ON SCHEMA cdc TO $owner;
GRANT SELECT ON ALL TABLES IN SCHEMA cdc TO $owner;
