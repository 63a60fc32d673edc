-- Rows of a table in primary key order: the image of each that meets a condition, the key of any other, and which.
SELECT IF(($meets) IS TRUE, $image, $key), ($meets) IS TRUE FROM $table AS t WHERE $where ORDER BY $order LIMIT %s
