-- Entries of the audit log, newest first; parameters that are null do not narrow.
SELECT number, recorded_at, actor, action, subject, detail FROM audit
WHERE (:before IS NULL OR number < :before)
  AND (:actor IS NULL OR actor = :actor)
  AND (:action IS NULL OR action = :action)
  AND (:subject IS NULL OR subject = :subject)
ORDER BY number DESC
LIMIT :limit
