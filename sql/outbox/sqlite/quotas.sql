-- name: quota_usage
-- The number of objects that each source (then the principal is null), and each principal (then the source is) has of
-- each kind of `cdc.model.quota`; null parameters do not narrow.  An object of all sources has the source ''.
WITH item (kind, id, source, principal) AS NOT MATERIALIZED (
    SELECT CASE WHEN concurrency = 0 THEN 'consumers' ELSE 'endpoints' END, endpoint.id, COALESCE(named.value, ''),
           COALESCE(json_extract(settings, '$.added_by'), '')
    FROM endpoint LEFT JOIN json_each(endpoint.sources) AS named
    WHERE removed_at IS NULL
    UNION ALL
    SELECT 'tokens', access_token.id, COALESCE(named.value, ''), ''
    FROM access_token LEFT JOIN json_each(access_token.sources) AS named
    WHERE expires_at IS NULL OR expires_at > :now
    UNION ALL
    SELECT 'portal_links', digest, named.value, COALESCE(json_extract(portal, '$.made_by'), '')
    FROM access_session CROSS JOIN json_each(portal, '$.sources') AS named
    WHERE portal IS NOT NULL AND expires_at > :now
    UNION ALL
    SELECT 'replays', replay.id, COALESCE(named.value, ''), actor
    FROM replay LEFT JOIN json_each(selection, '$.sources') AS named
    WHERE state = 'running'
    UNION ALL
    SELECT 'backfills', id, source, actor FROM backfill WHERE state IN ('running', 'paused')
    UNION ALL
    SELECT 'idempotency_keys', actor || ' ' || request_key, COALESCE(named.value, ''), 'token:' || name
    FROM idempotency
    JOIN access_token ON access_token.id = actor
    LEFT JOIN json_each(access_token.sources) AS named
)
SELECT kind, source, NULL, count(DISTINCT id)
FROM item
WHERE (:kind IS NULL OR kind = :kind) AND :principal IS NULL AND (:source IS NULL OR source = :source)
GROUP BY kind, source
UNION ALL
SELECT kind, NULL, principal, count(DISTINCT id)
FROM item
WHERE (:kind IS NULL OR kind = :kind) AND :source IS NULL AND (:principal IS NULL OR principal = :principal)
  AND principal <> ''
GROUP BY kind, principal
