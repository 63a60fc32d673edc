-- FULL: the log holds the whole row before each change, without which no transition can be seen.
ALTER TABLE $table REPLICA IDENTITY $identity;
