-- Entries of the audit log, newest first; parameters that are null do not narrow.
SELECT number, recorded_at, actor, action, subject, detail FROM cdc_outbox.audit
WHERE (%(before)s::bigint IS NULL OR number < %(before)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
  AND (%(action)s::text IS NULL OR action = %(action)s)
  AND (%(subject)s::text IS NULL OR subject = %(subject)s)
ORDER BY number DESC
LIMIT %(limit)s
