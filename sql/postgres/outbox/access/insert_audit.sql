-- An entry behind the last one; under the lock, so that numbers grow in the order of the commits.
INSERT INTO cdc_outbox.audit (number, recorded_at, actor, action, subject, detail)
VALUES ((SELECT COALESCE(max(number), 0) + 1 FROM cdc_outbox.audit),
        %(recorded_at)s, %(actor)s, %(action)s, %(subject)s, %(detail)s)
RETURNING number
