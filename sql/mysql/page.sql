-- Rows of a table as images, in primary key order, and whether each meets a condition.
SELECT $image, ($meets) IS TRUE FROM $table AS t WHERE $where ORDER BY $order LIMIT %s
