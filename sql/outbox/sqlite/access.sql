-- name: forget_audit
-- Up to so many of the oldest entries, as long as they were made before a moment: no hole is cut.
DELETE FROM audit WHERE number IN (
    SELECT number FROM audit
    WHERE number < COALESCE((SELECT number FROM audit WHERE recorded_at >= :until ORDER BY number LIMIT 1), 9223372036854775807)
    ORDER BY number
    LIMIT :limit
)
