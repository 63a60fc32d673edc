-- Replaces the stored form of an endpoint's secrets; the secrets themselves stay the same.
UPDATE endpoint SET secret = ?, former_secret = ?, headers = ? WHERE number = ?
