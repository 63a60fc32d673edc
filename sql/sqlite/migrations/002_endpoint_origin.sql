-- The origin that an endpoint agreed to get events from (CloudEvents webhook validation); empty: it was not asked.
ALTER TABLE endpoint ADD COLUMN origin TEXT NOT NULL DEFAULT '';
