-- Names and categories of types, below any domain.
WITH RECURSIVE below (asked, type) AS (
    SELECT oid, oid FROM pg_type WHERE oid = ANY (%s::oid[])
    UNION ALL
    SELECT b.asked, t.typbasetype FROM below b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
)
SELECT b.asked::bigint, t.typname::text, t.typcategory::text
FROM below b JOIN pg_type t ON t.oid = b.type
WHERE t.typtype <> 'd'
