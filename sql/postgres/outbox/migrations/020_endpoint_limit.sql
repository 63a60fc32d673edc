-- Limits of endpoints that hold over all processes.  Times are the server's: no other clock counts.

CREATE TABLE cdc_outbox.endpoint_limit (
    endpoint      bigint  PRIMARY KEY,         -- its number
    booked_until  timestamptz,                 -- admitted requests fill its rate until then
    held_until    timestamptz,                 -- its breaker is open: no probe before then; NULL: closed
    failed_probes integer NOT NULL DEFAULT 0,
    prober        text,                        -- the worker whose probe is on its way, until held_until at most
    paused_until  timestamptz                  -- the endpoint asked for a pause
) WITH (fillfactor = 50);

CREATE INDEX endpoint_limit_held ON cdc_outbox.endpoint_limit (endpoint)
WHERE held_until IS NOT NULL OR paused_until IS NOT NULL;

-- An endpoint that was enabled, or has another URL, is probed at once; a removed one has no limits.
CREATE FUNCTION cdc_outbox.reset_endpoint_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.removed_at IS NOT NULL THEN
        DELETE FROM cdc_outbox.endpoint_limit WHERE endpoint = NEW.number;
    ELSE
        UPDATE cdc_outbox.endpoint_limit
        SET held_until = CASE WHEN held_until IS NOT NULL THEN pg_catalog.clock_timestamp() END,
            failed_probes = 0, prober = NULL, paused_until = NULL
        WHERE endpoint = NEW.number;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER reset_endpoint_limit AFTER UPDATE OF enabled, removed_at, settings ON cdc_outbox.endpoint
FOR EACH ROW WHEN (
    NEW.removed_at IS NOT NULL OR (NEW.enabled AND NOT OLD.enabled)
    OR NEW.settings ->> 'url' IS DISTINCT FROM OLD.settings ->> 'url'
)
EXECUTE FUNCTION cdc_outbox.reset_endpoint_limit();
