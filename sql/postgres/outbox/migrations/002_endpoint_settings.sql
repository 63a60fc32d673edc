-- How an endpoint wants its events: what statements look at has a column, everything else is in settings.
ALTER TABLE cdc_outbox.endpoint
    ADD COLUMN delivery_order text NOT NULL DEFAULT 'record',   -- what waits for what: record, endpoint, none
    ADD COLUMN condition      text NOT NULL DEFAULT '',         -- an expression on the event; empty: none
    ADD COLUMN headers        text NOT NULL DEFAULT '[]',       -- JSON list of pairs, values sealed as secrets are
    ADD COLUMN failing_since  timestamptz                       -- first failed attempt with no success since
;
