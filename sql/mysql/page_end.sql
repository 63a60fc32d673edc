-- The key of the last row of a page, in primary key order; none where fewer rows are left.
SELECT $image FROM $table AS t $base WHERE $where ORDER BY $order LIMIT %s, 1
