-- The names sort behind PostgreSQL's own foreign key triggers and before those of plugins, which run in name order: a
-- plugin's trigger that writes the same row again is journaled after the write that set it off.
CREATE TRIGGER _cdc_row AFTER INSERT OR DELETE ON $table
FOR EACH ROW EXECUTE FUNCTION cdc.$function();
