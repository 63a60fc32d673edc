-- Rows of an ERP table as the triggers would write them.
SELECT row_to_json(found)::text
FROM (SELECT $columns FROM $rows AS t WHERE $condition ORDER BY $key LIMIT %(limit)s) AS found
