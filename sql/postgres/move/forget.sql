-- Forget transactions that the log told of.
DELETE FROM cdc.cdc_journal WHERE xid = ANY (%(xids)s::text[]::xid8[])
