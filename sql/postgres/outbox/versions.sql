-- Which migrations were applied, by number.
CREATE TABLE cdc_outbox.migration (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
