-- Rows as a source that can only compare saw them last.

CREATE TABLE kept_row (
    source     TEXT NOT NULL,
    table_name TEXT NOT NULL,
    key        BLOB NOT NULL, -- in the order of the keys
    digest     BLOB NOT NULL, -- of the row
    content    BLOB NOT NULL, -- the row, packed by the source
    PRIMARY KEY (source, table_name, key)
) WITHOUT ROWID;
