-- Rows of a table as images, in primary key order.
SELECT $image FROM $table AS t WHERE $where ORDER BY $order LIMIT %s
