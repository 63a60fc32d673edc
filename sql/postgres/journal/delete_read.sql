-- Forget whole transactions of which rows were read over this very connection.
DELETE FROM cdc.cdc_journal WHERE xid = ANY (%(xids)s::xid8[])
