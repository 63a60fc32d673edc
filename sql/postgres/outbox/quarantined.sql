-- Changes that were skipped, newest first; of a source, or behind the one that is named.
SELECT id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after, backfill
FROM cdc_outbox.quarantine
WHERE (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(before)s::text IS NULL
       OR (found_at, id) < (SELECT last.found_at, last.id FROM cdc_outbox.quarantine AS last WHERE last.id = %(before)s::text))
ORDER BY found_at DESC, id DESC
LIMIT %(limit)s
