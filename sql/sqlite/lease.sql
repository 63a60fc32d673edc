-- Takes one delivery until `due`; the attempt counts from here.
UPDATE delivery SET worker = ?, due = ?, attempts = attempts + 1 WHERE id = ?
