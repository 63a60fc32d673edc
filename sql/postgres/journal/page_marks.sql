-- Transactions that wait in the journal, and the first log position of each: with a page of a table (read/page.sql).
SELECT xid::text, min(lsn)::text FROM cdc.cdc_journal WHERE xid >= %(floor)s::xid8 GROUP BY xid LIMIT %(most)s
