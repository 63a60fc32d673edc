-- What uninstalling needs to know: the replica identity that each table had before.
COMMENT ON PUBLICATION $publication IS $memory;
