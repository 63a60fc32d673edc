-- The row stays for the log; its secrets go.
UPDATE cdc_outbox.endpoint SET removed_at = %(now)s, enabled = false, secret = '', former_secret = NULL,
    headers = '[]'
WHERE number = %(number)s
