-- Changes with each change of endpoints, but for their health, so that processes read them again only then.  A random
-- number: unlike a count it never returns to one that a transaction had which was undone, or to one of a restored copy.

CREATE TABLE endpoint_version (version INTEGER NOT NULL);
INSERT INTO endpoint_version (version) VALUES (random());

CREATE TRIGGER endpoint_added AFTER INSERT ON endpoint
BEGIN
    UPDATE endpoint_version SET version = random();
END;

CREATE TRIGGER endpoint_changed AFTER UPDATE OF number, id, url, events, sources, secret, former_secret, enabled,
    removed_at, delivery_order, condition, headers, settings ON endpoint
BEGIN
    UPDATE endpoint_version SET version = random();
END;

CREATE TRIGGER endpoint_deleted AFTER DELETE ON endpoint
BEGIN
    UPDATE endpoint_version SET version = random();
END;
