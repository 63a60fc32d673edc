-- Code and name by which people search a record, in small letters.  Events of former versions have none.

ALTER TABLE cdc_outbox.event ADD COLUMN label_code text COLLATE "C", ADD COLUMN label_name text COLLATE "C";
CREATE INDEX event_label_code ON cdc_outbox.event (label_code) WHERE label_code IS NOT NULL;
CREATE INDEX event_label_name ON cdc_outbox.event (label_name) WHERE label_name IS NOT NULL;
