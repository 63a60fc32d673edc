-- Rows of an ERP table as the triggers would write them, whether each meets a condition, and marks of the same snapshot: two
-- texts, where the first column is null.
SELECT page.image, page.meets, NULL::text, NULL::text
FROM (
    SELECT (SELECT row_to_json(found)::text FROM (SELECT $images) AS found) AS image, ($where) IS TRUE AS meets
    FROM $table AS t WHERE $condition ORDER BY $key LIMIT %(limit)s
) AS page
UNION ALL
SELECT NULL, NULL, marks.*
FROM (
    $marks
) AS marks
