-- Somebody changed what the publication publishes.
ALTER PUBLICATION $publication SET ($options);
