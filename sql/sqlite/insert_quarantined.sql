-- A change that was skipped; one that is known keeps its first reason.
INSERT INTO quarantine
    (id, found_at, source, table_name, operation, row_key, token, changed_at, reason, image_before, image_after)
VALUES
    (:id, :found_at, :source, :table_name, :operation, :row_key, :token, :changed_at, :reason, :image_before, :image_after)
ON CONFLICT (id) DO NOTHING
