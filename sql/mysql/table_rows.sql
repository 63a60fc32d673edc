-- Rows of a table as images, in primary key order.
SELECT $image FROM $table AS t $base WHERE $where ORDER BY $order LIMIT %s
