-- Replaces the stored form of an endpoint's secrets; the secrets themselves stay the same.
UPDATE cdc_outbox.endpoint SET secret = %(secret)s, former_secret = %(former_secret)s, headers = %(headers)s
WHERE number = %(number)s
