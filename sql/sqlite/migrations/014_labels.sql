-- Code and name by which people search a record, in small letters.  Events of former versions have none.

ALTER TABLE event ADD COLUMN label_code TEXT;
ALTER TABLE event ADD COLUMN label_name TEXT;
CREATE INDEX event_label_code ON event (label_code) WHERE label_code IS NOT NULL;
CREATE INDEX event_label_name ON event (label_name) WHERE label_name IS NOT NULL;
