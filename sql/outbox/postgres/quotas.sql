-- name: quota_usage
-- The number of objects that each source (then the principal is null), and each principal (then the source is) has of
-- each kind of `cdc.model.quota`; null parameters do not narrow.  An object of all sources has the source ''.
WITH item (kind, id, source, principal) AS NOT MATERIALIZED (
    SELECT CASE WHEN settings ->> 'concurrency' = '0' THEN 'consumers' ELSE 'endpoints' END, id,
           COALESCE(named.source, ''), COALESCE(settings ->> 'added_by', '')
    FROM cdc_outbox.endpoint LEFT JOIN LATERAL unnest(sources) AS named (source) ON true
    WHERE removed_at IS NULL
    UNION ALL
    SELECT 'tokens', id, COALESCE(named.source, ''), ''
    FROM cdc_outbox.access_token
    LEFT JOIN LATERAL jsonb_array_elements_text(sources::jsonb) AS named (source) ON true
    WHERE expires_at IS NULL OR expires_at > :now
    UNION ALL
    SELECT 'portal_links', digest, named.source, COALESCE(portal::jsonb ->> 'made_by', '')
    FROM cdc_outbox.access_session
    CROSS JOIN LATERAL jsonb_array_elements_text(portal::jsonb -> 'sources') AS named (source)
    WHERE portal IS NOT NULL AND expires_at > :now
    UNION ALL
    SELECT 'replays', id, COALESCE(named.source, ''), actor
    FROM cdc_outbox.replay
    LEFT JOIN LATERAL jsonb_array_elements_text(selection::jsonb -> 'sources') AS named (source) ON true
    WHERE state = 'running'
    UNION ALL
    SELECT 'backfills', id, source, actor FROM cdc_outbox.backfill WHERE state IN ('running', 'paused')
    UNION ALL
    SELECT 'idempotency_keys', actor || ' ' || request_key, COALESCE(named.source, ''), 'token:' || name
    FROM cdc_outbox.idempotency
    JOIN cdc_outbox.access_token ON access_token.id = actor
    LEFT JOIN LATERAL jsonb_array_elements_text(access_token.sources::jsonb) AS named (source) ON true
)
SELECT kind, source, NULL, count(DISTINCT id)
FROM item
WHERE (:kind::text IS NULL OR kind = :kind) AND :principal::text IS NULL AND (:source::text IS NULL OR source = :source)
GROUP BY kind, source
UNION ALL
SELECT kind, NULL, principal, count(DISTINCT id)
FROM item
WHERE (:kind::text IS NULL OR kind = :kind) AND :source::text IS NULL
  AND (:principal::text IS NULL OR principal = :principal) AND principal <> ''
GROUP BY kind, principal
