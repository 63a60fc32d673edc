-- For accounts that do only a part of the work (`cdc outbox grants`): the endpoints without their secrets, and the few
-- changes that an account makes of which it may not write the table.  Functions run as the owner of the schema, with
-- nothing but PostgreSQL's own names in reach.

CREATE VIEW cdc_outbox.endpoint_outline AS
SELECT number, id, events, sources, enabled, disabled_reason, created_at, removed_at, delivery_order, condition,
       failing_since,
       jsonb_strip_nulls(jsonb_build_object(
           'url', CASE
               WHEN settings ->> 'url' LIKE 'pull:%' THEN settings ->> 'url'
               ELSE COALESCE(substring(settings ->> 'url' FROM '^[a-z0-9+.-]+://')
                             || substring(settings ->> 'url' FROM '^[a-z0-9+.-]+://(?:[^/?#]*@)?([^/?#@]*)'),
                             split_part(settings ->> 'url', ':', 1) || ':')
               END,
           'description', settings -> 'description',
           'rate', settings -> 'rate',
           'disable_after', settings -> 'disable_after'
       )) AS settings
FROM cdc_outbox.endpoint;

CREATE FUNCTION cdc_outbox.disable_endpoint(its_number bigint, why text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH changed AS (
        UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = why WHERE number = its_number AND enabled
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM changed)
$$;

CREATE FUNCTION cdc_outbox.disable_failing(its_id text, since timestamptz, why text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH changed AS (
        UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = why
        WHERE id = its_id AND removed_at IS NULL AND enabled AND failing_since = since
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM changed)
$$;

CREATE FUNCTION cdc_outbox.disable_filtered(its_id text, its_condition text, why text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH changed AS (
        UPDATE cdc_outbox.endpoint SET enabled = false, disabled_reason = why
        WHERE id = its_id AND removed_at IS NULL AND enabled AND condition = its_condition
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM changed)
$$;

CREATE FUNCTION cdc_outbox.note_filter(its_id text, its_condition text, problem text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH changed AS (
        UPDATE cdc_outbox.endpoint SET settings = jsonb_set(settings, '{filter_problem}', to_jsonb(problem))
        WHERE id = its_id AND removed_at IS NULL AND condition = its_condition
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM changed)
$$;

-- The account of the page removes no entry younger than 364 days; the owner may.
CREATE FUNCTION cdc_outbox.forget_audit(before timestamptz, most bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH bound AS (
        SELECT CASE WHEN pg_has_role(session_user, nspowner, 'USAGE') THEN before
                    ELSE LEAST(before, clock_timestamp() - interval '364 days') END AS moment
        FROM pg_namespace WHERE nspname = 'cdc_outbox'
    ), gone AS (
        DELETE FROM cdc_outbox.audit WHERE number IN (
            SELECT number FROM cdc_outbox.audit
            WHERE number < COALESCE((SELECT number FROM cdc_outbox.audit, bound WHERE recorded_at >= moment
                                     ORDER BY number LIMIT 1), 9223372036854775807)
            ORDER BY number
            LIMIT most
        )
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cdc_outbox FROM PUBLIC;
-- An account that may already change endpoints calls these in place of the statements of former versions.
DO $$
DECLARE
    account record;
BEGIN
    FOR account IN
        SELECT granted.grantee::regrole AS name
        FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) AS granted
        WHERE pg_class.oid = 'cdc_outbox.endpoint'::regclass AND granted.privilege_type = 'UPDATE'
          AND granted.grantee NOT IN (0, relowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cdc_outbox TO %s', account.name);
    END LOOP;
END
$$;
