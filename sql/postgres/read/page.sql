-- Rows of an ERP table as the triggers would write them, and marks of the same snapshot, each as one text: a driver takes
-- its time over every value. Between them is the record separator, which JSON cannot hold. A row begins with whether it
-- meets a condition, and is just its key where it does not; a mark is two words.
SELECT
    (
        SELECT string_agg(CASE WHEN page.meets THEN '+' ELSE '-' END || page.image, chr(30))
        FROM (
            SELECT
                CASE
                    WHEN ($where) IS TRUE THEN (SELECT row_to_json(found)::text FROM (SELECT $images) AS found)
                    ELSE (SELECT row_to_json(found)::text FROM (SELECT $keys) AS found)
                END AS image,
                ($where) IS TRUE AS meets
            FROM $rows AS t WHERE $condition ORDER BY $key LIMIT %(limit)s
        ) AS page
    ),
    (
        SELECT string_agg(marks.name || ' ' || marks.place, chr(30))
        FROM (
            $marks
        ) AS marks (name, place)
    )
