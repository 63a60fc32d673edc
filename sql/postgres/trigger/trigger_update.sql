-- A row that did not change writes nothing. The bytes are compared (*<>): no column is named, so none is held back from
-- ALTER TABLE, and types without an equality operator (json, point) compare as well.
CREATE TRIGGER _cdc_update AFTER UPDATE ON $table
FOR EACH ROW WHEN (OLD.* OPERATOR(pg_catalog.*<>) NEW.*) EXECUTE FUNCTION cdc.$function();
