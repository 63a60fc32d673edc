-- name: endpoints
-- Endpoints that were not removed, oldest first.
SELECT id, url, events, secret, created_at, enabled, description, sources, format, timeout, retry_schedule,
       concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
WHERE removed_at IS NULL
ORDER BY created_at, number

-- name: endpoints_of
-- Endpoints of these ids (a JSON list) that were not removed.
SELECT id, url, events, secret, created_at, enabled, description, sources, format, timeout, retry_schedule,
       concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
WHERE removed_at IS NULL AND id IN (SELECT value FROM json_each(:ids))

-- name: search_endpoints
-- Endpoints of a slice of numbers that were not removed and that may fit a filter; the columns of `endpoints` come last.
SELECT number, id, url, events, secret, created_at, enabled, description, sources, format, timeout, retry_schedule,
       concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
WHERE number > :above AND number <= :upto AND removed_at IS NULL
  AND (:text = '' OR instr(lower(id || char(10) || description || char(10) || COALESCE(public_url, '')), lower(:text)) > 0)
  AND CASE :state
      WHEN '' THEN true
      WHEN 'dead' THEN EXISTS (
          SELECT 1 FROM finished_count AS dead WHERE dead.endpoint = number AND dead.state = 3 AND dead.deliveries > 0)
      ELSE :state = iif(enabled, iif(failing_since IS NULL, 'enabled', 'failing'), 'disabled') END
  AND (:source = '' OR sources = '[]' OR :source IN (SELECT value FROM json_each(endpoint.sources)))
  AND (:sources = '[]' OR sources <> '[]' AND NOT EXISTS (
      SELECT 1 FROM json_each(endpoint.sources) AS named
      WHERE named.value NOT IN (SELECT value FROM json_each(:sources))))
ORDER BY number
LIMIT :limit

-- name: removed_endpoints
-- What endpoints (a JSON list of ids) were called that were removed.
SELECT id, description, COALESCE(public_url, '') FROM endpoint
WHERE removed_at IS NOT NULL AND id IN (SELECT value FROM json_each(:ids))

-- name: insert_endpoint
-- A new endpoint; nothing when the id was ever used.
INSERT INTO endpoint (id, url, events, secret, created_at, enabled, description, sources, format, timeout,
                      retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin,
                      delivery_order, condition, headers, failing_since, settings, public_url)
VALUES (:id, :url, :events, :secret, :created_at, :enabled, :description, :sources, :format, :timeout,
        :retry_schedule, :concurrency, :disabled_reason, :former_secret, :former_secret_until, :origin,
        :order, :condition, :headers, :failing_since, :settings, :public_url)
ON CONFLICT (id) DO NOTHING

-- name: update_endpoint
-- Replaces everything of an endpoint that may change.
UPDATE endpoint
SET url = :url, events = :events, secret = :secret, enabled = :enabled,
    description = :description, sources = :sources, format = :format, timeout = :timeout,
    retry_schedule = :retry_schedule, concurrency = :concurrency, disabled_reason = :disabled_reason,
    former_secret = :former_secret, former_secret_until = :former_secret_until, origin = :origin,
    delivery_order = :order, condition = :condition, headers = :headers, failing_since = :failing_since,
    settings = :settings, public_url = :public_url
WHERE id = :id AND removed_at IS NULL

-- name: all_endpoints
-- All endpoints, removed ones too; the columns of `endpoints` come last.
SELECT number, removed_at, id, url, events, secret, created_at, enabled, description, sources, format, timeout,
       retry_schedule, concurrency, disabled_reason, former_secret, former_secret_until, origin,
       delivery_order, condition, headers, failing_since, settings
FROM endpoint
ORDER BY number

-- name: remove_endpoint
-- The row stays for the log; its secrets go.
UPDATE endpoint SET removed_at = :now, enabled = 0, secret = '', former_secret = NULL, headers = '[]',
    settings = json_set(settings, '$.credential', '')
WHERE number = :number

-- name: forget_url
-- Of the URL and the authentication of a removed endpoint remains what everybody may see.
UPDATE endpoint SET url = COALESCE(public_url, ''),
    settings = json_set(settings, '$.authentication', '', '$.proxy', '')
WHERE number = :number

-- name: disable_endpoint
-- Stops leasing for an endpoint and says why; one that is disabled already keeps its reason.
UPDATE endpoint SET enabled = 0, disabled_reason = :reason WHERE number = :number AND enabled

-- name: disable_failing
-- Stops leasing for an endpoint that has failed since then without one success.
UPDATE endpoint SET enabled = 0, disabled_reason = :reason
WHERE id = :id AND removed_at IS NULL AND enabled AND failing_since = :failing_since

-- name: disable_filtered
-- Stops leasing for an endpoint whose filter exceeds a limit.
UPDATE endpoint SET enabled = 0, disabled_reason = :reason
WHERE id = :id AND removed_at IS NULL AND enabled AND condition = :condition

-- name: note_filter
-- Why the filter of an endpoint failed, unless it was changed since.
UPDATE endpoint SET settings = json_set(settings, '$.filter_problem', :problem)
WHERE id = :id AND removed_at IS NULL AND condition = :condition
