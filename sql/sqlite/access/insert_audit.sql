-- An entry behind the last one.
INSERT INTO audit (number, recorded_at, actor, action, subject, detail)
SELECT COALESCE(MAX(number), 0) + 1, :recorded_at, :actor, :action, :subject, :detail FROM audit
RETURNING number
