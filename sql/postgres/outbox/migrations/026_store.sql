-- Stores what sources have to (`cdc.outbox.postgres.store`) in one round trip: events with their deliveries, positions and
-- small states, as the statements of sql/outbox/postgres/relay.sql do one after the other.  Each statement here sees what
-- was committed before the locks were taken.  Returns no row, and stores nothing, where the endpoints have another version,
-- an event is stored already or a fence does not hold; else a row of NULLs, and one for each delivery that was leased.
-- Events are named by their places in the lists, from 1.
CREATE FUNCTION cdc_outbox.store(
    its_now timestamptz, its_token text, its_version bigint,
    position_sources text[], positions text[], fences boolean[], expectations text[], epochs bigint[],
    state_sources text[], state_names text[], state_values text[],
    event_ids text[], event_names text[], event_sources text[], event_records text[], event_times timestamptz[],
    event_payloads bytea[], label_codes text[], label_names text[],
    delivery_events bigint[], delivery_endpoints bigint[], delivery_lanes bigint[],
    leased_events bigint[], leased_endpoints bigint[], its_worker text, lease_until timestamptz, full_endpoints text[]
) RETURNS TABLE (delivery_id bigint, event_place bigint, endpoint_id text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    last_event bigint;
    last_delivery bigint;
    holds boolean;
    leased bigint := 0;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true), pg_advisory_xact_lock_shared(1667523328, 4),
            pg_advisory_xact_lock(1667523328, 6);

    SELECT (SELECT COALESCE(max(sequence), 0) FROM cdc_outbox.event),
           (SELECT COALESCE(max(id), 0) FROM cdc_outbox.delivery),
           its_version = (SELECT version FROM cdc_outbox.endpoint_version)
           AND NOT EXISTS (SELECT FROM cdc_outbox.event WHERE id = ANY (event_ids))
           AND NOT EXISTS (
               SELECT FROM unnest(position_sources, fences, expectations, epochs) AS given (source, fenced, expected, epoch)
               LEFT JOIN cdc_outbox.source_position AS its ON its.source = given.source
               LEFT JOIN cdc_outbox.source_lease AS lease ON lease.source = given.source
               WHERE (given.fenced AND its.position IS DISTINCT FROM given.expected)
                  OR (given.epoch IS NOT NULL AND lease.epoch IS DISTINCT FROM given.epoch)
           )
    INTO last_event, last_delivery, holds;
    IF holds IS NOT TRUE THEN
        RETURN;
    END IF;

    INSERT INTO cdc_outbox.source_position (source, position) SELECT * FROM unnest(position_sources, positions)
    ON CONFLICT (source) DO UPDATE SET position = excluded.position;

    IF cardinality(state_names) > 0 THEN
        DELETE FROM cdc_outbox.source_state
        USING unnest(state_sources, state_names, state_values) AS given (source, name, value)
        WHERE source_state.source = given.source AND source_state.name = given.name AND given.value IS NULL;
        INSERT INTO cdc_outbox.source_state (source, name, value)
        SELECT * FROM unnest(state_sources, state_names, state_values) AS given (source, name, value)
        WHERE given.value IS NOT NULL
        ON CONFLICT (source, name) DO UPDATE SET value = excluded.value;
    END IF;

    INSERT INTO cdc_outbox.event (sequence, id, name, source, record, "time", payload, label_code, label_name)
    SELECT last_event + place, id, name, source, record, "time", payload, code, label
    FROM unnest(event_ids, event_names, event_sources, event_records, event_times, event_payloads, label_codes, label_names)
         WITH ORDINALITY AS given (id, name, source, record, "time", payload, code, label, place);

    -- as `insert_delivery`
    INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, created_at)
    SELECT last_delivery + given.n, last_event + given.event, given.endpoint, given.lane,
           CASE WHEN busy.yes OR row_number() OVER (PARTITION BY given.endpoint, given.lane ORDER BY given.n) > 1
                THEN 0 ELSE 1 END,
           its_now, its_now
    FROM (
        SELECT given.n, given.event, given.endpoint, COALESCE(alias.root, given.lane) AS lane
        FROM unnest(delivery_events, delivery_endpoints, delivery_lanes)
             WITH ORDINALITY AS given (event, endpoint, lane, n)
        LEFT JOIN LATERAL (
            SELECT root FROM cdc_outbox.lane_alias WHERE lane_alias.lane = given.lane LIMIT 1
        ) AS alias ON true
        OFFSET 0
    ) AS given
    LEFT JOIN LATERAL (
        SELECT true AS yes FROM cdc_outbox.delivery AS other
        WHERE other.endpoint = given.endpoint AND other.lane = given.lane AND other.state < 2
        LIMIT 1
        FOR KEY SHARE
    ) AS busy ON true
    ORDER BY given.n;

    RETURN QUERY VALUES (NULL::bigint, NULL::bigint, NULL::text);
    IF cardinality(leased_events) > 0 THEN  -- as `lease_new`
        RETURN QUERY
        UPDATE cdc_outbox.delivery SET worker = its_worker, due = lease_until, attempts = 1
        FROM unnest(leased_events, leased_endpoints) AS given (event, endpoint)
        JOIN cdc_outbox.endpoint ON endpoint.number = given.endpoint
        WHERE delivery.event = last_event + given.event AND delivery.endpoint = given.endpoint AND delivery.state = 1
          AND endpoint.enabled AND endpoint.removed_at IS NULL AND endpoint.id <> ALL (full_endpoints)
          AND NOT EXISTS (
              SELECT FROM cdc_outbox.delivery AS older
              WHERE older.endpoint = given.endpoint AND older.state = 1 AND older.due < its_now
              OFFSET 0
          )
        RETURNING delivery.id, given.event, endpoint.id;
        GET DIAGNOSTICS leased = ROW_COUNT;
    END IF;
    PERFORM pg_notify(
        'cdc_outbox', its_token || CASE WHEN cardinality(delivery_events) > leased THEN ' due' ELSE ' written' END
    );
END
$$;

REVOKE ALL ON FUNCTION cdc_outbox.store FROM PUBLIC;
-- An account that may already store calls it in place of the statements of former versions.
DO $$
DECLARE
    account record;
BEGIN
    FOR account IN
        SELECT granted.grantee::regrole AS name
        FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) AS granted
        WHERE pg_class.oid = 'cdc_outbox.source_position'::regclass AND granted.privilege_type = 'UPDATE'
          AND granted.grantee NOT IN (0, relowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION cdc_outbox.store TO %s', account.name);
    END LOOP;
END
$$;
