-- Changes with each change of endpoints, but for their health, so that processes read them again only then.  A random
-- number: unlike a count it never returns to one that a transaction had which was undone, or to one of a restored copy.

CREATE TABLE cdc_outbox.endpoint_version (version bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO cdc_outbox.endpoint_version (version) VALUES ((random() * 9007199254740992)::bigint);

CREATE FUNCTION cdc_outbox.endpoint_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE cdc_outbox.endpoint_version SET version = (pg_catalog.random() * 9007199254740992)::bigint;
    RETURN NULL;
END
$$;

CREATE TRIGGER endpoint_changed
AFTER INSERT OR DELETE OR UPDATE OF number, id, events, sources, secret, former_secret, enabled, removed_at,
    delivery_order, condition, headers, settings
ON cdc_outbox.endpoint FOR EACH STATEMENT EXECUTE FUNCTION cdc_outbox.endpoint_changed();
