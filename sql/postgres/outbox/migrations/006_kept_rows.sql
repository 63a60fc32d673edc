-- Rows as a source that can only compare saw them last.

CREATE TABLE cdc_outbox.kept_row (
    source     text  NOT NULL,
    table_name text  NOT NULL,
    key        bytea NOT NULL, -- in the order of the keys
    digest     bytea NOT NULL, -- of the row
    content    bytea NOT NULL, -- the row, packed by the source
    PRIMARY KEY (source, table_name, key)
);
-- compressed already
ALTER TABLE cdc_outbox.kept_row ALTER COLUMN content SET STORAGE EXTERNAL;
