-- name: endpoints
-- Endpoints that were not removed, oldest first.
SELECT settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
WHERE removed_at IS NULL
ORDER BY created_at, number

-- name: endpoints_of
-- Endpoints of these ids that were not removed.
SELECT settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
WHERE removed_at IS NULL AND id = ANY (:ids::text[])

-- name: search_endpoints
-- Endpoints of a slice of numbers that were not removed and that may fit a filter; the columns of `endpoints` come last.
SELECT number, settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
WHERE number > :above AND number <= :upto AND removed_at IS NULL
  AND (:text::text = '' OR strpos(
      lower(concat(id, chr(10), settings ->> 'description', chr(10), public_url)), lower(:text::text)) > 0)
  AND CASE :state::text
      WHEN '' THEN true
      WHEN 'dead' THEN (
          SELECT COALESCE(sum(dead.deliveries), 0) > 0 FROM cdc_outbox.finished_count AS dead
          WHERE dead.endpoint = endpoint.number AND dead.state = 3)
      ELSE :state::text = CASE
          WHEN NOT enabled THEN 'disabled' WHEN failing_since IS NULL THEN 'enabled' ELSE 'failing' END
      END
  AND (:source::text = '' OR cardinality(sources) = 0 OR sources @> ARRAY[:source::text])
  AND (cardinality(:sources::text[]) = 0 OR cardinality(sources) > 0 AND sources <@ :sources::text[])
ORDER BY number
LIMIT :limit

-- name: removed_endpoints
-- What endpoints were called that were removed.
SELECT id, settings ->> 'description', COALESCE(public_url, '') FROM cdc_outbox.endpoint
WHERE removed_at IS NOT NULL AND id = ANY (:ids::text[])

-- name: insert_endpoint
-- A new endpoint; nothing when the id was ever used.
INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, former_secret, settings, created_at,
                                 delivery_order, condition, headers, failing_since, public_url)
VALUES (:id, :events, :sources, :enabled, :disabled_reason, :secret, :former_secret,
        :settings, :created_at, :order, :condition, :headers, :failing_since, :public_url)
ON CONFLICT (id) DO NOTHING
RETURNING number

-- name: update_endpoint
-- Replaces everything of an endpoint that may change.
UPDATE cdc_outbox.endpoint
SET events = :events, sources = :sources, enabled = :enabled, disabled_reason = :disabled_reason,
    secret = :secret, former_secret = :former_secret, settings = :settings,
    delivery_order = :order, condition = :condition, headers = :headers, failing_since = :failing_since,
    public_url = :public_url
WHERE id = :id AND removed_at IS NULL

-- name: all_endpoints
-- All endpoints, removed ones too; the columns of `endpoints` come last.
SELECT number, removed_at, settings, id, events, sources, enabled, disabled_reason, secret, former_secret, created_at,
       delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint
ORDER BY number

-- name: remove_endpoint
-- The row stays for the log; its secrets go.
UPDATE cdc_outbox.endpoint SET removed_at = :now, enabled = false, secret = '', former_secret = NULL, headers = '[]',
    settings = settings - 'credential'
WHERE number = :number

-- name: forget_url
-- Of the URL and the authentication of a removed endpoint remains what everybody may see.
UPDATE cdc_outbox.endpoint
SET settings = (settings - 'sealed_url' - 'authentication' - 'proxy')
    || pg_catalog.jsonb_build_object('url', COALESCE(public_url, ''))
WHERE number = :number

-- name: disable_endpoint
-- Stops leasing for an endpoint and says why; one that is disabled already keeps its reason.
-- (By functions, here and below: accounts that only capture or send may call them, not write endpoints.)
SELECT WHERE cdc_outbox.disable_endpoint(:number, :reason)

-- name: disable_failing
-- Stops leasing for an endpoint that has failed since then without one success.
SELECT WHERE cdc_outbox.disable_failing(:id, :failing_since, :reason)

-- name: disable_filtered
-- Stops leasing for an endpoint whose filter exceeds a limit.
SELECT WHERE cdc_outbox.disable_filtered(:id, :condition, :reason)

-- name: note_filter
-- Why the filter of an endpoint failed, unless it was changed since.
SELECT WHERE cdc_outbox.note_filter(:id, :condition, :problem)

-- name: endpoints_outlined
-- `endpoints` for an account that may not read secrets: of the settings only what health needs.
SELECT settings, id, events, sources, enabled, disabled_reason, '', NULL, created_at,
       delivery_order, condition, '[]', failing_since
FROM cdc_outbox.endpoint_outline
WHERE removed_at IS NULL
ORDER BY created_at, number
