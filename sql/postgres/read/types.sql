-- These types and everything that they are made of: the base of a domain, the elements of an array, the fields of a
-- composite type. Arrays: true ones, which JSON writes as such.
WITH RECURSIVE reached (oid) AS (
    SELECT unnest(%s::oid[])
    UNION
    SELECT part.oid
    FROM reached r
    JOIN pg_type t ON t.oid = r.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype WHERE t.typtype = 'd'
        UNION ALL
        SELECT t.typelem WHERE t.typcategory = 'A' AND t.typelem <> 0
        UNION ALL
        SELECT a.atttypid FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS part (oid)
)
SELECT
    t.oid::bigint,
    t.typname::text,
    t.typtype::text,
    t.typbasetype::bigint,
    CASE WHEN t.typcategory = 'A' THEN t.typelem::bigint ELSE 0 END,
    coalesce(element.typdelim::text, ','),
    ARRAY(
        SELECT a.atttypid::bigint FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    )
FROM reached r
JOIN pg_type t ON t.oid = r.oid
LEFT JOIN pg_type element ON element.oid = t.typelem
