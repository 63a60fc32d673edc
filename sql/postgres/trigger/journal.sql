-- The journal and the record of the installation; whatever of it is missing is created. No sequence anywhere: the ERP reads new ids with lastval().
-- Names carry the prefix cdc_ because FacturaScripts looks at table names without their schema.
CREATE SCHEMA IF NOT EXISTS cdc;
COMMENT ON SCHEMA cdc IS 'facturascripts-cdc: journal of row changes; removed by cdc uninstall-triggers';

CREATE TABLE IF NOT EXISTS cdc.cdc_installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    schema_name text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- Which tables are captured, and which of their columns must never enter the journal. state: state.sql, when installed.
CREATE TABLE IF NOT EXISTS cdc.cdc_capture (
    table_name text PRIMARY KEY,
    secrets text[] NOT NULL,
    state text
);

-- One row a change. lsn: end of the write-ahead log when the trigger ran; it orders the changes of a transaction, and
-- transactions by the latest moment at which one of their triggers ran, whatever the clock does.
CREATE TABLE IF NOT EXISTS cdc.cdc_journal (
    xid xid8 NOT NULL,
    lsn pg_lsn NOT NULL,
    at timestamptz NOT NULL,
    table_name text NOT NULL,
    operation "char" NOT NULL,
    secrets_changed text[],
    before text,
    after text,
    PRIMARY KEY (xid, lsn)
) WITH (
    toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_cost_delay = 0
);
-- Images live for moments: compressing them costs the ERP's write more than it saves.
ALTER TABLE cdc.cdc_journal ALTER COLUMN before SET STORAGE EXTERNAL, ALTER COLUMN after SET STORAGE EXTERNAL;

INSERT INTO cdc.cdc_installation (version, schema_name) VALUES ($version, $schema)
ON CONFLICT DO NOTHING;
