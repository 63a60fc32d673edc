-- Nobody else may hang this function on a table of theirs and so write into the journal.
REVOKE ALL ON FUNCTION cdc.$function() FROM PUBLIC;
